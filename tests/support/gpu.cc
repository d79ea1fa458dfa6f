// SPDX-License-Identifier: Apache-2.0
#include "support/gpu.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "support/check.h"

namespace ranktest {
namespace {

using flexlink::CUdeviceptr;
using flexlink::CUstream;

CUdeviceptr addressOf(const void* at) { return reinterpret_cast<CUdeviceptr>(at); }
CUstream streamOf(cudaStream_t stream) { return reinterpret_cast<CUstream>(stream); }

bool onGpu() {
  const char* device = getenv("FLEXLINK_DEVICE");
  return device != nullptr && strcmp(device, "cuda") == 0;
}

}  // namespace

std::vector<std::string> gpuEnv(int gpus, const std::vector<std::string>& more) {
  std::vector<std::string> env = {"FLEXLINK_DEVICE=cuda", "FLEXLINK_PASS_THROUGH=0"};
  const char* which = getenv("FLEXLINK_TEST_GPU");
  env.insert(env.end(), more.begin(), more.end());
  if (which != nullptr && strcmp(which, "real") == 0) return env;
  std::string path = FLEXLINK_THREAD_GPU;
  env.push_back("FLEXLINK_CUDA_KERNELS=" + path);  // any file: the kernels are its own
  path.resize(path.rfind('/'));
  if (const char* others = getenv("LD_LIBRARY_PATH")) path += std::string(":") + others;
  env.push_back("LD_LIBRARY_PATH=" + path);
  env.push_back("FAKE_GPUS=" + std::to_string(gpus));
  return env;
}

Gpu* Gpu::use(int rank) {
  if (!onGpu()) return nullptr;
  thread_local std::unique_ptr<Gpu> mine;
  if (mine == nullptr) {
    auto driver = flexlink::openCudaDriver();
    if (!driver.ok()) fail(RANK_WHERE, driver.status().text());
    mine.reset(new Gpu(*driver.value(), rank));
  }
  return mine.get();
}

void Gpu::need(const flexlink::Status& status, const char* where) {
  if (!status.ok()) fail(where, status.text());
}

#define NEED(...) need(driver_.run(__VA_ARGS__), RANK_WHERE)

Gpu::Gpu(const flexlink::CudaDriver& driver, int rank) : driver_(driver) {
  flexlink::CUcontext context = nullptr;
  NEED(driver_.init, 0u);
  NEED(driver_.deviceGetCount, &count_);
  NEED(driver_.primaryCtxRetain, &context, rank % count_);
  NEED(driver_.ctxSetCurrent, context);
  copies_ = makeStream();
}

void* Gpu::allocate(size_t bytes) {
  CUdeviceptr at = 0;
  NEED(driver_.memAlloc, &at, bytes);
  return reinterpret_cast<void*>(at);
}

void Gpu::free(void* allocated) { NEED(driver_.memFree, addressOf(allocated)); }

cudaStream_t Gpu::makeStream() {
  CUstream stream = nullptr;
  const unsigned flags = flexlink::kCudaStreamNonBlocking;
  NEED(driver_.streamCreateWithPriority, &stream, flags, 0);
  return reinterpret_cast<cudaStream_t>(stream);
}

void Gpu::freeStream(cudaStream_t stream) { NEED(driver_.streamDestroy, streamOf(stream)); }

void Gpu::copy(void* to, const void* from, size_t bytes) {
  enqueue(to, from, bytes, copies_);
  synchronize(copies_);
}

void Gpu::enqueue(void* to, const void* from, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return;
  NEED(driver_.memcpyAsync, addressOf(to), addressOf(from), bytes, streamOf(stream));
}

void Gpu::synchronize(cudaStream_t stream) { NEED(driver_.streamSynchronize, streamOf(stream)); }

bool Gpu::idle(cudaStream_t stream) {
  return driver_.streamQuery(streamOf(stream)) != flexlink::kCudaNotReady;
}

// The library itself never records, so that its table lacks these.
void Gpu::record(cudaStream_t stream, bool on) {
  void* library = dlopen(flexlink::kCudaLibrary, RTLD_NOW | RTLD_LOCAL);
  using Begin = int (*)(cudaStream_t, int);
  using End = int (*)(cudaStream_t, void**);
  void* graph = nullptr;
  const int result =
      on ? reinterpret_cast<Begin>(dlsym(library, "cuStreamBeginCapture_v2"))(stream, 1)
         : reinterpret_cast<End>(dlsym(library, "cuStreamEndCapture"))(stream, &graph);
  RANK_EQ(result, 0);
}

uint64_t* Gpu::pinnedCounter() {
  constexpr size_t kPage = 4096;
  void* page = aligned_alloc(kPage, kPage);
  memset(page, 0, kPage);
  NEED(driver_.memHostRegister, page, kPage, 0u);
  return static_cast<uint64_t*>(page);
}

void Gpu::wait(cudaStream_t stream, uint64_t* counter) {
  const uint64_t value = 1;
  const unsigned flags = flexlink::kCudaWaitGreaterOrEqual;
  NEED(driver_.streamWaitValue64, streamOf(stream), addressOf(counter), value, flags);
}

}  // namespace ranktest
