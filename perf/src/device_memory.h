// SPDX-License-Identifier: Apache-2.0
// Buffers that the CPU cannot touch: a GPU's. Where a rank has none, its buffers are this process's
// own memory. Everything here ends the process with a text when the device refuses.
#pragma once

#include <cstddef>

namespace flexlink::perf {

class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;

  // Calls of the library and of this class that follow on this thread mean this device.
  virtual void use() = 0;

  virtual void* allocate(size_t bytes) = 0;  // for the life of the process

  // Each returns when it is done.
  virtual void clear(void* memory, size_t bytes) = 0;
  virtual void write(void* to, const void* hostMemory, size_t bytes) = 0;
  virtual void read(void* hostMemory, const void* from, size_t bytes) = 0;

  // Within the device: begun, and done when finish() returns.
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  virtual void finish() = 0;
};

}  // namespace flexlink::perf
