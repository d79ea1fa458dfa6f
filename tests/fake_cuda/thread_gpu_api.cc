// SPDX-License-Identifier: Apache-2.0
// The exported functions of a libcuda.so.1 whose GPUs are threads (thread_gpu.h). FAKE_GPUS says
// how many there are; 1 where it is not set.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "fake_cuda/cuda_cpu_kernels.h"
#include "fake_cuda/thread_gpu.h"

using namespace flexlink;        // NOLINT(google-build-using-namespace)
using namespace flexlink::test;  // NOLINT(google-build-using-namespace)

#define FAKE extern "C" __attribute__((visibility("default")))

namespace {

constexpr CUresult kInvalidValue = 1;
constexpr CUresult kIllegalAddress = 700;
constexpr int kMaxGpus = 8;

int gpus() {
  static const char* text = getenv("FAKE_GPUS");
  return text == nullptr ? 1 : std::min(atoi(text), kMaxGpus);
}

// Never destroyed: their threads work until the process ends.
GpuMemory& memory() {
  static auto* all = new GpuMemory;
  return *all;
}

// The stream NULL of each GPU.
GpuStream* firstStream(CUdevice device) {
  static std::mutex mutex;
  static GpuStream* first[kMaxGpus];
  std::lock_guard<std::mutex> lock(mutex);
  if (first[device] == nullptr) first[device] = new GpuStream(device);
  return first[device];
}

char contexts[kMaxGpus];  // their addresses are what counts
thread_local CUcontext current = nullptr;

CUcontext contextOf(CUdevice device) { return reinterpret_cast<CUcontext>(contexts + device); }
CUdevice deviceOf(CUcontext context) {
  return static_cast<CUdevice>(reinterpret_cast<char*>(context) - contexts);
}

// Handles 1 and 2: the stream NULL by name, and one for each thread.
GpuStream* streamOf(CUstream stream) {
  const auto number = reinterpret_cast<uintptr_t>(stream);
  if (number > 2) return reinterpret_cast<GpuStream*>(stream);
  const CUdevice device = current == nullptr ? 0 : deviceOf(current);
  if (number < 2) return firstStream(device);
  thread_local std::unique_ptr<GpuStream> mine;
  if (mine == nullptr) mine = std::make_unique<GpuStream>(device);
  return mine.get();
}

std::atomic_ref<uint64_t> counterAt(void* at) {
  return std::atomic_ref<uint64_t>(*static_cast<uint64_t*>(at));
}

void nap() { std::this_thread::sleep_for(std::chrono::microseconds(20)); }

struct Event {
  std::atomic<uint64_t> recorded{0};
  std::atomic<uint64_t> done{0};
  bool over() const { return done >= recorded; }
};

Event* eventOf(CUevent event) { return reinterpret_cast<Event*>(event); }

// The addresses in a pack are those of the program.
CUresult runKernel(const std::string& name, cuda::FoldPack pack) {
  for (int i = 0; i < pack.nSrcs; ++i) {
    pack.srcs[i] = static_cast<const char*>(
        memory().forKernel(reinterpret_cast<CUdeviceptr>(pack.srcs[i]), 1));
    if (pack.srcs[i] == nullptr) return kIllegalAddress;
  }
  for (int i = 0; i < pack.nDsts; ++i) {
    pack.dsts[i] =
        static_cast<char*>(memory().forKernel(reinterpret_cast<CUdeviceptr>(pack.dsts[i]), 1));
    if (pack.dsts[i] == nullptr) return kIllegalAddress;
  }
  return runOnCpu(name, pack, 1) ? kCudaSuccess : kInvalidValue;
}

}  // namespace

FAKE CUresult cuInit(unsigned) { return kCudaSuccess; }
FAKE CUresult cuDriverGetVersion(int* version) {
  *version = 13000;
  return kCudaSuccess;
}
FAKE CUresult cuGetErrorName(CUresult error, const char** name) {
  *name = error == kIllegalAddress ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_OTHER";
  return kCudaSuccess;
}
FAKE CUresult cuGetErrorString(CUresult error, const char** text) {
  *text = error == kIllegalAddress ? "an illegal memory access was encountered" : "another error";
  return kCudaSuccess;
}
FAKE CUresult cuDeviceGetCount(int* count) {
  *count = gpus();
  return kCudaSuccess;
}
FAKE CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  *device = ordinal;
  return kCudaSuccess;
}
FAKE CUresult cuDeviceGetName(char* name, int length, CUdevice) {
  strncpy(name, "GPU of threads", static_cast<size_t>(length));
  return kCudaSuccess;
}
FAKE CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice) {
  *value = attribute == kCudaMultiprocessors ? 4 : 1;
  return kCudaSuccess;
}
FAKE CUresult cuDeviceGetPCIBusId(char* id, int length, CUdevice device) {
  strncpy(id, ("0000:0" + std::to_string(device) + ":00.0").c_str(), static_cast<size_t>(length));
  return kCudaSuccess;
}
FAKE CUresult cuDeviceCanAccessPeer(int* can, CUdevice, CUdevice) {
  *can = getenv("FAKE_GPU_NO_PEERS") == nullptr ? 1 : 0;
  return kCudaSuccess;
}
FAKE CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  *context = contextOf(device);
  return kCudaSuccess;
}
FAKE CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) { return kCudaSuccess; }
FAKE CUresult cuCtxGetCurrent(CUcontext* context) {
  *context = current;
  return kCudaSuccess;
}
FAKE CUresult cuCtxSetCurrent(CUcontext context) {
  current = context;
  return kCudaSuccess;
}
FAKE CUresult cuCtxGetDevice(CUdevice* device) {
  *device = deviceOf(current);
  return kCudaSuccess;
}
FAKE CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return kCudaSuccess;
}
FAKE CUresult cuCtxEnablePeerAccess(CUcontext, unsigned) { return kCudaSuccess; }

FAKE CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  return memory().allocate(bytes, current == nullptr ? 0 : deviceOf(current), address);
}
FAKE CUresult cuMemFree_v2(CUdeviceptr address) { return memory().free(address); }
FAKE CUresult cuMemHostRegister_v2(void* start, size_t bytes, unsigned) {
  return memory().pin(start, bytes);
}
FAKE CUresult cuMemHostUnregister(void* start) { return memory().unpin(start); }
FAKE CUresult cuMemHostAlloc(void** start, size_t bytes, unsigned) {
  *start = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  return memory().pin(*start, bytes);
}
FAKE CUresult cuMemFreeHost(void* start) {
  const CUresult result = memory().unpin(start);
  free(start);
  return result;
}
FAKE CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
  GpuMemory::Block block;
  if (!memory().find(address, base, &block)) return kInvalidValue;
  *bytes = block.bytes;
  return kCudaSuccess;
}
FAKE CUresult cuPointerGetAttributes(unsigned count, int* attributes, void** values,
                                     CUdeviceptr address) {
  CUdeviceptr start = 0;
  GpuMemory::Block block;
  const bool device = memory().find(address, &start, &block);
  const int kind = device ? kCudaMemoryDevice : memory().pinned(address, 1) ? kCudaMemoryHost : 0;
  for (unsigned i = 0; i < count; ++i) {
    int value = 0;
    if (attributes[i] == kCudaPointerMemoryType) value = kind;
    if (attributes[i] == kCudaPointerDevice) value = device ? block.device : -2;
    memcpy(values[i], &value, attributes[i] == kCudaPointerIsManaged ? 1 : sizeof value);
  }
  return kCudaSuccess;
}
FAKE CUresult cuIpcGetMemHandle(CUipcMemHandle* handle, CUdeviceptr address) {
  return memory().share(address, handle);
}
FAKE CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* address, CUipcMemHandle handle, unsigned) {
  if (getenv("FAKE_GPU_NO_PEERS") != nullptr) return 801;  // CUDA_ERROR_NOT_SUPPORTED
  return memory().open(handle, address);
}
FAKE CUresult cuIpcCloseMemHandle(CUdeviceptr address) { return memory().free(address); }

FAKE CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned, int priority) {
  const CUdevice device = current == nullptr ? 0 : deviceOf(current);
  *stream = reinterpret_cast<CUstream>(new GpuStream(device, priority));
  return kCudaSuccess;
}
FAKE CUresult cuStreamDestroy_v2(CUstream stream) {
  delete reinterpret_cast<GpuStream*>(stream);
  return kCudaSuccess;
}
FAKE CUresult cuStreamQuery(CUstream stream) { return streamOf(stream)->query(); }
FAKE CUresult cuStreamSynchronize(CUstream stream) { return streamOf(stream)->synchronize(); }
FAKE CUresult cuStreamBeginCapture_v2(CUstream stream, int) {
  streamOf(stream)->capturing = true;
  return kCudaSuccess;
}
FAKE CUresult cuStreamEndCapture(CUstream stream, void**) {
  streamOf(stream)->capturing = false;
  return kCudaSuccess;
}
FAKE CUresult cuStreamIsCapturing(CUstream stream, int* status) {
  *status = streamOf(stream)->capturing ? kCudaCaptureActive : kCudaCaptureNone;
  return kCudaSuccess;
}
FAKE CUresult cuThreadExchangeStreamCaptureMode(int*) { return kCudaSuccess; }

FAKE CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return streamOf(stream)->enqueue([=] {
    void* dst = memory().forCopy(to, bytes);
    const void* src = memory().forCopy(from, bytes);
    if (dst == nullptr || src == nullptr) return kIllegalAddress;
    memmove(dst, src, bytes);
    return kCudaSuccess;
  });
}
FAKE CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
  return streamOf(stream)->enqueue([=] {
    void* dst = memory().forCopy(to, bytes);
    if (dst == nullptr) return kIllegalAddress;
    memset(dst, value, bytes);
    return kCudaSuccess;
  });
}

FAKE CUresult cuEventCreate(CUevent* event, unsigned) {
  *event = reinterpret_cast<CUevent>(new Event);
  return kCudaSuccess;
}
FAKE CUresult cuEventRecord(CUevent event, CUstream stream) {
  Event* made = eventOf(event);
  const uint64_t number = ++made->recorded;
  return streamOf(stream)->enqueue([=] {
    made->done = number;
    return kCudaSuccess;
  });
}
FAKE CUresult cuEventQuery(CUevent event) {
  return eventOf(event)->over() ? kCudaSuccess : kCudaNotReady;
}
FAKE CUresult cuEventSynchronize(CUevent event) {
  while (!eventOf(event)->over()) nap();
  return kCudaSuccess;
}
FAKE CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
  Event* made = eventOf(event);
  const uint64_t number = made->recorded;
  return streamOf(stream)->enqueue([=] {
    while (made->done < number) nap();
    return kCudaSuccess;
  });
}
// Kept: a stream may still write it.
FAKE CUresult cuEventDestroy_v2(CUevent) { return kCudaSuccess; }

FAKE CUresult cuStreamWriteValue64_v2(CUstream stream, CUdeviceptr at, uint64_t value, unsigned) {
  return streamOf(stream)->enqueue([=] {
    void* counter = memory().forKernel(at, sizeof value);
    if (counter == nullptr) return kIllegalAddress;
    counterAt(counter).store(value);
    return kCudaSuccess;
  });
}
FAKE CUresult cuStreamWaitValue64_v2(CUstream stream, CUdeviceptr at, uint64_t value, unsigned) {
  return streamOf(stream)->enqueue([=] {
    void* counter = memory().forKernel(at, sizeof value);
    if (counter == nullptr) return kIllegalAddress;
    while (counterAt(counter).load() < value) nap();
    return kCudaSuccess;
  });
}
FAKE CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned, int*, void**) {
  *module = reinterpret_cast<CUmodule>(const_cast<void*>(image));
  return kCudaSuccess;
}
FAKE CUresult cuModuleUnload(CUmodule) { return kCudaSuccess; }
FAKE CUresult cuModuleGetFunction(CUfunction* function, CUmodule, const char* name) {
  static std::mutex mutex;
  static auto* names = new std::set<std::string>;
  std::lock_guard<std::mutex> lock(mutex);
  const char* kept = names->insert(name).first->c_str();
  *function = reinterpret_cast<CUfunction>(const_cast<char*>(kept));
  return kCudaSuccess;
}
FAKE CUresult cuLaunchKernel(CUfunction function, unsigned, unsigned, unsigned, unsigned, unsigned,
                             unsigned, unsigned, CUstream stream, void** parameters, void**) {
  const auto pack = std::make_shared<cuda::FoldPack>();
  memcpy(pack.get(), parameters[0], sizeof *pack);
  const char* name = reinterpret_cast<const char*>(function);
  return streamOf(stream)->enqueue([=] { return runKernel(name, *pack); });
}
