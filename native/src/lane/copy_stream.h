// SPDX-License-Identifier: Apache-2.0
// The hands of a lane whose bytes a device moves: a stream on which copies, folds and the counter
// that tells of them are enqueued. The CPU that polls only decides what may begin. No work on it
// waits for a peer, so that it can always be waited for.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "device/device.h"

namespace flexlink {

struct PinnedRange {
  void* begin;  // of whole pages
  size_t bytes;
};

// One thread at a time, as the lane.
class CopyStream {
 public:
  // `pinned`: host memory that it reads and writes, mapped by this process for as long as this
  // lives and pinned here, also where a thread of this process has pinned it.
  static Result<std::unique_ptr<CopyStream>> open(std::shared_ptr<Device> device,
                                                  std::vector<PinnedRange> pinned);
  CopyStream(const CopyStream&) = delete;
  CopyStream& operator=(const CopyStream&) = delete;
  ~CopyStream();

  void copy(void* dst, const void* src, size_t bytes);
  void fold(const FoldArgs& args);  // with as many destinations as the device takes

  // *counter = value behind all of it.
  void publish(std::atomic<uint64_t>& counter, uint64_t value);

  // Moves on what can be moved now. The first error of all that was enqueued; ok: there was none.
  Status drive();

  // The same without looking at the device.
  const Status& failure() const { return failure_; }

  // Has all been done that was enqueued, or has it failed?
  bool idle();

  // Until nothing of what was enqueued reads or writes memory any more.
  void drain();

  const char* device() const { return device_->name(); }

 private:
  explicit CopyStream(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  void note(const Status& status);

  const std::shared_ptr<Device> device_;
  std::vector<void*> pinned_;
  StreamHandle stream_ = nullptr;
  Status failure_;
};

}  // namespace flexlink
