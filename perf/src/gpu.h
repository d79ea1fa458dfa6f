// SPDX-License-Identifier: Apache-2.0
// The GPUs of --device cuda through the driver alone: memory, one stream for each rank, names.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device_memory.h"
#include "drivers/libcuda.h"

namespace flexlink::perf {

// Empty where this machine has a GPU that can be used; else what was tried and what came back.
// Tries in a process of its own: CUDA does not outlive a fork of a process that has begun to use
// it.
std::string gpuProblem();

// One rank's GPU, and its stream. One thread.
class Gpu final : public DeviceMemory {
 public:
  // `index` modulo the number of GPUs. Ends the process with a text if it cannot be had.
  explicit Gpu(int index);

  void use() override;
  void* allocate(size_t bytes) override;
  void clear(void* memory, size_t bytes) override;
  void write(void* to, const void* hostMemory, size_t bytes) override;
  void read(void* hostMemory, const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void finish() override;

  int ordinal() const { return ordinal_; }
  std::string name() const;     // "NVIDIA H200"
  unsigned long pciId() const;  // domain << 16 | bus << 8 | device; 0: not known
  CUstream stream() const { return stream_; }
  bool finished() const;  // all work of the stream

 private:
  const CudaDriver* driver_;
  int ordinal_ = 0;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
};

// The GPUs of `count` ranks that follow each other: the first one's number on this host is `first`.
std::vector<std::unique_ptr<Gpu>> openGpus(int first, int count);

// The first rank's GPU of thread `thread` of a process: as many as the ranks before it on this
// host, or, with NCCL_TESTS_DEVICE, counted from there in each process.
int firstGpu(int localProcess, int threads, int thread, int ranksOfThread);

}  // namespace flexlink::perf
