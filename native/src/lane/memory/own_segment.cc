// SPDX-License-Identifier: Apache-2.0
#include "lane/memory/own_segment.h"

#include <mutex>
#include <unordered_map>

#include "device/host/region.h"

namespace flexlink {
namespace {

struct Owned {
  std::mutex mutex;  // guards all; a leaf lock
  std::unordered_map<uint32_t, std::weak_ptr<OwnSegment>> all;
};

Owned& owned() {
  static Owned* owned = new Owned;  // used until the last communicator goes, which may be never
  return *owned;
}

}  // namespace

Result<std::shared_ptr<OwnSegment>> OwnSegment::create(const SegmentLayout& layout) {
  FLEXLINK_TRY_ASSIGN(void* base,
                      RegionTable::instance().create(layout.bytes(), RegionUse::kSegment));
  std::shared_ptr<OwnSegment> made(new OwnSegment(base, RegionTable::instance().find(base, 1).id));
  std::lock_guard<std::mutex> lock(owned().mutex);
  owned().all[made->regionId_] = made;
  return made;
}

std::shared_ptr<OwnSegment> OwnSegment::find(uint32_t regionId) {
  std::lock_guard<std::mutex> lock(owned().mutex);
  auto found = owned().all.find(regionId);
  return found == owned().all.end() ? nullptr : found->second.lock();
}

OwnSegment::~OwnSegment() {
  {
    std::lock_guard<std::mutex> lock(owned().mutex);
    owned().all.erase(regionId_);
  }
  (void)RegionTable::instance().destroy(base_);
}

}  // namespace flexlink
