// SPDX-License-Identifier: Apache-2.0
// Host memory as a device: the CPU that drives it is the copy engine.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "device/device.h"
#include "device/host/region.h"
#include "device/host/stream.h"

namespace flexlink {

// Streams are those that it has made.
class HostDevice final : public Device {
 public:
  const char* name() const override { return "host"; }
  int numaNode() const override { return -1; }
  Result<MemoryKind> memoryOf(const void* pointer) override;
  Status pin(void* begin, size_t bytes) override;
  Status unpin(void* begin) override;
  Result<void*> allocate(size_t bytes) override;
  Status release(void* allocated) override;
  Result<MemoryHandle> share(const void* pointer) override;
  Result<void*> open(const MemoryHandle& handle) override;
  Status close(void* opened) override;
  Result<StreamHandle> makeStream() override;
  Status freeStream(StreamHandle stream) override;
  Status query(StreamHandle stream) override;
  Status copy(StreamHandle stream, void* dst, const void* src, size_t bytes) override;
  Status writeValue(StreamHandle stream, uint64_t* at, uint64_t value) override;
  Status waitValue(StreamHandle stream, const uint64_t* at, uint64_t value) override;
  Status fold(StreamHandle stream, const FoldArgs& args) override;
  Result<bool> capturing(StreamHandle stream) override;
  bool drive() override;

 private:
  using Streams = std::vector<std::shared_ptr<HostStream>>;

  Result<std::shared_ptr<HostStream>> find(StreamHandle stream) const;
  Status enqueue(StreamHandle stream, StreamWork work);

  mutable std::mutex mutex_;            // guards all below; a leaf lock
  std::map<uintptr_t, size_t> pinned_;  // bytes, by start
  std::multimap<uintptr_t, std::shared_ptr<ForeignRegion>> opened_;
  // Replaced as a whole, so that drive() goes over them without the lock.
  std::shared_ptr<const Streams> streams_ = std::make_shared<Streams>();
};

}  // namespace flexlink
