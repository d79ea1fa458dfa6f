// SPDX-License-Identifier: Apache-2.0
// Where FLEXLINK_DEVICE=cuda: the ranks' buffers and streams are a GPU's. Of a real driver, or of
// one whose GPUs are threads (fake_cuda/thread_gpu.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "drivers/libcuda.h"
#include "flexlink/nccl.h"

namespace ranktest {

// What RunOptions::env needs for ranks on GPUs, and `more`: of threads, `gpus` of them, or with
// FLEXLINK_TEST_GPU=real in the environment those of this machine.
std::vector<std::string> gpuEnv(int gpus = 1, const std::vector<std::string>& more = {});

// Fails as a rank does where the driver says no.
class Gpu {
 public:
  // The calling thread's; null: buffers are host memory. `rank` chooses it at the first call.
  static Gpu* use(int rank = 0);

  int count() const { return count_; }  // of the GPUs that ranks are spread over

  void* allocate(size_t bytes);
  void free(void* allocated);
  cudaStream_t makeStream();
  void freeStream(cudaStream_t stream);

  // What stands for the stream NULL in cases: ranks that are threads must not share theirs.
  static cudaStream_t perThread() { return reinterpret_cast<cudaStream_t>(uintptr_t{2}); }

  // Returns when it is done; enqueue() does not wait.
  void copy(void* to, const void* from, size_t bytes);
  void enqueue(void* to, const void* from, size_t bytes, cudaStream_t stream);
  void synchronize(cudaStream_t stream);
  bool idle(cudaStream_t stream);

  // From now on, or no longer, the stream is recorded into a graph.
  void record(cudaStream_t stream, bool on);

  // A stream waits until the counter, in memory from pinnedCounter(), is 1.
  uint64_t* pinnedCounter();
  void wait(cudaStream_t stream, uint64_t* counter);

 private:
  Gpu(const flexlink::CudaDriver& driver, int rank);
  void need(const flexlink::Status& status, const char* where);

  const flexlink::CudaDriver& driver_;
  int count_ = 0;
  cudaStream_t copies_ = nullptr;
};

}  // namespace ranktest
