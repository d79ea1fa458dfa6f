// SPDX-License-Identifier: Apache-2.0
// GPUs made of threads: their memory, which the program cannot touch, and their streams, which work
// by themselves. What a libcuda.so.1 that is put before the real one needs (thread_gpu_api.cc).
#pragma once

#include <atomic>
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

// What several streams share with FAKE_GPU_CONNECTIONS=1 (CUDA_DEVICE_MAX_CONNECTIONS): their work
// is done in the order in which it was enqueued, so that a stream that waits holds up all of them.
// Streams of another priority have another one. Any thread.
class GpuConnection {
 public:
  // Null: every stream has its own.
  static GpuConnection* of(CUdevice device, int priority);

  uint64_t next() { return enqueued_.fetch_add(1); }
  void await(uint64_t number);
  void done();

 private:
  std::atomic<uint64_t> enqueued_{0};
  std::mutex mutex_;  // guards done_
  std::condition_variable changed_;
  uint64_t done_ = 0;
};

// One stream: a thread that does what was enqueued, in order. The first error stays.
class GpuStream {
 public:
  using Work = std::function<CUresult()>;

  explicit GpuStream(CUdevice device, int priority = 0);
  GpuStream(const GpuStream&) = delete;
  GpuStream& operator=(const GpuStream&) = delete;
  ~GpuStream();  // when all is done

  CUresult enqueue(Work work);
  CUresult query();
  CUresult synchronize();
  CUdevice device() const { return device_; }

  bool capturing = false;  // by the thread that uses the stream

 private:
  struct Job {
    Work work;
    uint64_t number;  // of the connection
  };
  void run();

  const CUdevice device_;
  GpuConnection* const connection_;
  std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  std::deque<Job> queue_;
  CUresult error_ = kCudaSuccess;
  bool busy_ = false;
  bool ended_ = false;  // the thread has left
  bool ends_ = false;
};

}  // namespace flexlink::test
