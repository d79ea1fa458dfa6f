// SPDX-License-Identifier: Apache-2.0
#include "lane/copy_stream.h"

#include "base/log.h"
#include "device/drain.h"
#include "device/shared_pins.h"

namespace flexlink {
namespace {

// A device writes a counter as 8 bytes; std::atomic has nothing beside them.
uint64_t* wordOf(std::atomic<uint64_t>& counter) {
  static_assert(sizeof counter == sizeof(uint64_t) && std::atomic<uint64_t>::is_always_lock_free);
  return reinterpret_cast<uint64_t*>(&counter);
}

}  // namespace

Result<std::unique_ptr<CopyStream>> CopyStream::open(std::shared_ptr<Device> device,
                                                     std::vector<PinnedRange> pinned) {
  std::unique_ptr<CopyStream> made(new CopyStream(std::move(device)));
  for (const PinnedRange& each : pinned) {
    FLEXLINK_TRY(pinShared(made->device_, each.begin, each.bytes));
    made->pinned_.push_back(each.begin);
  }
  FLEXLINK_TRY_ASSIGN(made->stream_, made->device_->makeStream());
  return made;
}

CopyStream::~CopyStream() {
  if (stream_ != nullptr) {
    drain();
    Status freed = device_->freeStream(stream_);
    if (!freed.ok()) FLEXLINK_WARN("copies of a lane: %s", freed.text());
  }
  for (void* each : pinned_) {
    Status unpinned = unpinShared(each);
    if (!unpinned.ok()) FLEXLINK_WARN("copies of a lane: %s", unpinned.text());
  }
}

void CopyStream::note(const Status& status) {
  if (failure_.ok()) failure_ = status;
}

void CopyStream::copy(void* dst, const void* src, size_t bytes) {
  if (bytes != 0) note(device_->copy(stream_, dst, src, bytes));
}

void CopyStream::fold(const FoldArgs& args) {
  if (args.count != 0) note(device_->fold(stream_, args));
}

void CopyStream::publish(std::atomic<uint64_t>& counter, uint64_t value) {
  note(device_->writeValue(stream_, wordOf(counter), value));
}

bool CopyStream::idle() { return device_->query(stream_).code() != Code::kInProgress; }

Status CopyStream::drive() {
  (void)device_->drive();
  Status status = device_->query(stream_);
  if (status.code() != Code::kInProgress) note(status);
  return failure_;
}

void CopyStream::drain() {
  Status drained = flexlink::drain(*device_, stream_);
  if (!drained.ok()) FLEXLINK_WARN("copies of a lane: %s", drained.text());
  note(drained);
}

}  // namespace flexlink
