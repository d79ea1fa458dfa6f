// SPDX-License-Identifier: Apache-2.0
// Host memory whose copies are done by a thread of the device's own, as a GPU's copy engines do
// them: whoever enqueues them can only wait. A test may hold it back.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "device/host/host_device.h"

namespace flexlink {

class SlowDevice final : public Device {
 public:
  SlowDevice() : engine_([this] { work(); }) {}
  ~SlowDevice() override {
    over_ = true;
    engine_.join();
  }
  void hold(bool held) { held_ = held; }

  const char* name() const override { return "slow"; }
  int numaNode() const override { return 0; }
  Result<MemoryKind> memoryOf(const void* p) override { return host_.memoryOf(p); }
  Status pin(void* begin, size_t bytes) override { return host_.pin(begin, bytes); }
  Status unpin(void* begin) override { return host_.unpin(begin); }
  Result<void*> allocate(size_t bytes) override { return host_.allocate(bytes); }
  Status release(void* allocated) override { return host_.release(allocated); }
  Result<MemoryHandle> share(const void* p) override { return host_.share(p); }
  Result<void*> open(const MemoryHandle& handle) override { return host_.open(handle); }
  Status close(void* opened) override { return host_.close(opened); }
  Result<StreamHandle> makeStream() override { return host_.makeStream(); }
  Status freeStream(StreamHandle stream) override {
    EXPECT_TRUE(host_.query(stream).ok()) << "freed with work on it";
    return host_.freeStream(stream);
  }
  Status query(StreamHandle stream) override { return host_.query(stream); }
  Status copy(StreamHandle stream, void* dst, const void* src, size_t bytes) override {
    return host_.copy(stream, dst, src, bytes);
  }
  Status writeValue(StreamHandle stream, uint64_t* at, uint64_t value) override {
    return host_.writeValue(stream, at, value);
  }
  Status waitValue(StreamHandle stream, const uint64_t* at, uint64_t value) override {
    return host_.waitValue(stream, at, value);
  }
  Status fold(StreamHandle stream, const FoldArgs& args) override {
    return host_.fold(stream, args);
  }
  Result<bool> capturing(StreamHandle stream) override { return host_.capturing(stream); }
  bool drive() override { return false; }

 private:
  void work() {
    while (!over_) {
      if (held_ || !host_.drive()) std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }

  HostDevice host_;
  std::atomic<bool> over_{false};
  std::atomic<bool> held_{false};
  std::thread engine_;
};

}  // namespace flexlink
