// SPDX-License-Identifier: Apache-2.0
// Memory of peers that a device has opened, for as long as this lives.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "base/log.h"
#include "device/device.h"

namespace flexlink {

// One thread at a time. Nothing that was enqueued uses the memory any more when it goes.
class OpenedMemory {
 public:
  explicit OpenedMemory(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  OpenedMemory(const OpenedMemory&) = delete;
  OpenedMemory& operator=(const OpenedMemory&) = delete;
  ~OpenedMemory() {
    for (void* each : opened_) {
      Status closed = device_->close(each);
      if (!closed.ok()) FLEXLINK_WARN("memory of a peer: %s", closed.text());
    }
  }

  // As Device::open(). Set-up.
  Result<void*> open(const MemoryHandle& handle) {
    FLEXLINK_TRY_ASSIGN(void* opened, device_->open(handle));
    opened_.push_back(opened);
    return opened;
  }

 private:
  const std::shared_ptr<Device> device_;
  std::vector<void*> opened_;
};

}  // namespace flexlink
