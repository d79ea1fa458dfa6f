// SPDX-License-Identifier: Apache-2.0
// gpu.h by drivers/libcuda.h: the primary context of each device, as the CUDA runtime uses it.
#include "gpu.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "fail.h"

namespace flexlink::perf {
namespace {

constexpr char kHint[] =
    "flexlink doctor says what is missing; without --device the same runs on "
    "host memory";

void must(const Status& status) {
  if (!status.ok()) fail("--device cuda: %s", status.text());
}

CUdeviceptr address(const void* memory) { return reinterpret_cast<CUdeviceptr>(memory); }

// The driver, started, and how many GPUs it has.
Result<int> startDriver(const CudaDriver** driver) {
  FLEXLINK_TRY_ASSIGN(*driver, openCudaDriver());
  FLEXLINK_TRY((*driver)->run((*driver)->init, 0U));
  int count = 0;
  FLEXLINK_TRY((*driver)->run((*driver)->deviceGetCount, &count));
  if (count > 0) return count;
  return makeStatus(Code::kCuda,
                    "cuDeviceGetCount: there is no GPU, or CUDA_VISIBLE_DEVICES hides "
                    "them all");
}

std::string problemHere() {
  const CudaDriver* driver = nullptr;
  const Result<int> count = startDriver(&driver);
  return count.ok() ? "" : std::string(count.status().text()) + ". " + kHint;
}

}  // namespace

std::string gpuProblem() {
  int ends[2];
  if (pipe(ends) != 0) return "pipe failed";
  const pid_t child = fork();
  if (child == 0) {
    const std::string text = problemHere();
    const ssize_t written = write(ends[1], text.data(), text.size());
    _exit(written < 0 ? 2 : text.empty() ? 0 : 1);
  }
  close(ends[1]);
  std::string text;
  char part[512];
  for (ssize_t got = 0; (got = read(ends[0], part, sizeof part)) > 0;) {
    text.append(part, static_cast<size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return "fork failed";
  if (text.empty() && status != 0) text = "the CUDA driver ended the process that started it";
  return text;
}

Gpu::Gpu(int index) {
  const Result<int> count = startDriver(&driver_);
  must(count.ok() ? Status() : count.status());
  ordinal_ = index % count.value();
  must(driver_->run(driver_->deviceGet, &device_, ordinal_));
  must(driver_->run(driver_->primaryCtxRetain, &context_, device_));
  use();
  const unsigned flags = kCudaStreamNonBlocking;
  must(driver_->run(driver_->streamCreateWithPriority, &stream_, flags, 0));
}

void Gpu::use() { must(driver_->run(driver_->ctxSetCurrent, context_)); }

void* Gpu::allocate(size_t bytes) {
  use();
  CUdeviceptr memory = 0;
  const Status status = driver_->run(driver_->memAlloc, &memory, bytes);
  if (!status.ok()) fail("no buffer of %zu bytes on GPU %d: %s", bytes, ordinal_, status.text());
  return reinterpret_cast<void*>(memory);
}

void Gpu::clear(void* memory, size_t bytes) {
  use();
  const unsigned char zero = 0;
  must(driver_->run(driver_->memsetAsync, address(memory), zero, bytes, stream_));
  finish();
}

void Gpu::write(void* to, const void* hostMemory, size_t bytes) {
  copy(to, hostMemory, bytes);
  finish();
}

void Gpu::read(void* hostMemory, const void* from, size_t bytes) {
  copy(hostMemory, from, bytes);
  finish();
}

void Gpu::copy(void* to, const void* from, size_t bytes) {
  use();
  must(driver_->run(driver_->memcpyAsync, address(to), address(from), bytes, stream_));
}

void Gpu::finish() { must(driver_->run(driver_->streamSynchronize, stream_)); }

bool Gpu::finished() const {
  const CUresult result = driver_->streamQuery(stream_);
  if (result == kCudaNotReady) return false;
  must(driver_->check(driver_->streamQuery, result));
  return true;
}

std::string Gpu::name() const {
  char text[128] = "";
  const int room = sizeof text;
  return driver_->deviceGetName(text, room, device_) == kCudaSuccess ? text : "GPU";
}

unsigned long Gpu::pciId() const {
  char text[32] = "";
  const int room = sizeof text;
  unsigned domain = 0;
  unsigned bus = 0;
  unsigned device = 0;
  if (driver_->deviceGetPciBusId(text, room, device_) != kCudaSuccess) return 0;
  if (std::sscanf(text, "%x:%x:%x", &domain, &bus, &device) != 3) return 0;
  return static_cast<unsigned long>(domain) << 16 | bus << 8 | device;
}

std::vector<std::unique_ptr<Gpu>> openGpus(int first, int count) {
  std::vector<std::unique_ptr<Gpu>> gpus;
  for (int i = 0; i < count; ++i) gpus.push_back(std::make_unique<Gpu>(first + i));
  return gpus;
}

int firstGpu(int localProcess, int threads, int thread, int ranksOfThread) {
  const char* base = std::getenv("NCCL_TESTS_DEVICE");
  const int first = base && *base ? std::atoi(base) : localProcess * threads * ranksOfThread;
  return first + thread * ranksOfThread;
}

}  // namespace flexlink::perf
