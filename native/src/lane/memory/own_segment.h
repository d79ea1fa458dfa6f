// SPDX-License-Identifier: Apache-2.0
// A rank's own segment: made once, found by other ranks of the same process.
#pragma once

#include <cstdint>
#include <memory>

#include "base/status.h"
#include "lane/memory/segment.h"

namespace flexlink {

// This process's mapping of a segment that one of its ranks owns. Ranks that are threads of one
// process share it: it goes when the last of them has gone.
class OwnSegment {
 public:
  static Result<std::shared_ptr<OwnSegment>> create(const SegmentLayout& layout);

  // The one with this region id, if a rank of this process still has it.
  static std::shared_ptr<OwnSegment> find(uint32_t regionId);

  ~OwnSegment();
  void* base() const { return base_; }
  uint32_t regionId() const { return regionId_; }

 private:
  OwnSegment(void* base, uint32_t regionId) : base_(base), regionId_(regionId) {}
  void* const base_;
  const uint32_t regionId_;
};

}  // namespace flexlink
