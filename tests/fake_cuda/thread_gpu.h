// SPDX-License-Identifier: Apache-2.0
// GPUs made of threads: their memory, which the program cannot touch, and their streams, which work
// by themselves. What a libcuda.so.1 that is put before the real one needs (thread_gpu_api.cc).
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>

#include "drivers/libcuda_types.h"

namespace flexlink::test {

// All memory that the GPUs know. Device memory has two addresses: the one that the program holds,
// where nobody may read or write, and the one where the GPUs' threads find it. Any thread.
class GpuMemory {
 public:
  struct Block {
    size_t bytes = 0;
    int fd = -1;  // of its memory; -1: opened from another process
    uint8_t* inside = nullptr;
    CUdevice device = 0;
  };

  CUresult allocate(size_t bytes, CUdevice device, CUdeviceptr* address);
  CUresult free(CUdeviceptr address);
  CUresult share(CUdeviceptr address, CUipcMemHandle* handle);
  CUresult open(const CUipcMemHandle& handle, CUdeviceptr* address);
  CUresult pin(void* start, size_t bytes);
  CUresult unpin(void* start);

  // The block that holds the address, and where it starts; false: it is not device memory.
  bool find(CUdeviceptr address, CUdeviceptr* start, Block* block);
  bool pinned(CUdeviceptr address, size_t bytes);

  // Where a copy finds these bytes: device memory inside, all other memory as it is; null: they go
  // beyond a block.
  void* forCopy(CUdeviceptr address, size_t bytes);

  // Where a kernel or a counter finds them: null also for host memory that is not pinned.
  void* forKernel(CUdeviceptr address, size_t bytes);

 private:
  CUresult add(int fd, size_t bytes, CUdevice device, bool keep, CUdeviceptr* address);

  std::mutex mutex_;  // guards both; a leaf lock
  std::map<CUdeviceptr, Block> blocks_;
  std::map<uintptr_t, size_t> pinned_;
};

// One stream: a thread that does what was enqueued, in order. The first error stays.
class GpuStream {
 public:
  using Work = std::function<CUresult()>;

  explicit GpuStream(CUdevice device);
  GpuStream(const GpuStream&) = delete;
  GpuStream& operator=(const GpuStream&) = delete;
  ~GpuStream();  // when all is done

  CUresult enqueue(Work work);
  CUresult query();
  CUresult synchronize();
  CUdevice device() const { return device_; }

  bool capturing = false;  // by the thread that uses the stream

 private:
  void run();

  const CUdevice device_;
  std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  std::deque<Work> queue_;
  CUresult error_ = kCudaSuccess;
  bool busy_ = false;
  bool ended_ = false;  // the thread has left
  bool ends_ = false;
};

}  // namespace flexlink::test
