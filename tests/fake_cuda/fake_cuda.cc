// SPDX-License-Identifier: Apache-2.0
#include "fake_cuda.h"

#include <concepts>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

using namespace flexlink;  // NOLINT(google-build-using-namespace)
using flexlink::test::FakeCuda;

#define FAKE extern "C" __attribute__((visibility("default")))

FAKE FakeCuda* fakeCuda() {
  static FakeCuda fake;
  return &fake;
}

namespace {

template <std::integral T>
std::string text(T value) {
  return std::to_string(value);
}
std::string text(const char* words) { return words; }
template <typename T>
std::string text(T* value) {
  return value == nullptr ? "null" : "pointer";
}

// Notes the call; what the test wants it to give.
template <typename... Arguments>
CUresult noted(const char* name, Arguments... arguments) {
  std::string line = name;
  (line.append(" ").append(text(arguments)), ...);
  fakeCuda()->calls.push_back(line);
  const auto found = fakeCuda()->results.find(name);
  return found == fakeCuda()->results.end() ? kCudaSuccess : found->second;
}

// Notes the call `name` with what follows, and returns from it if the test wants it to fail.
#define NOTE(...) \
  if (const CUresult scripted = noted(__VA_ARGS__); scripted != kCudaSuccess) return scripted

template <typename Handle>
Handle handle(uintptr_t value) {
  return reinterpret_cast<Handle>(value);
}

void* memory(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

}  // namespace

FAKE CUresult cuInit(unsigned flags) {
  NOTE("cuInit", flags);
  return kCudaSuccess;
}
FAKE CUresult cuDriverGetVersion(int* version) {
#if defined(FAKE_CUDA_OLD)
  *version = 11040;
#else
  *version = 13000;
#endif
  return kCudaSuccess;
}
FAKE CUresult cuGetErrorName(CUresult error, const char** name) {
  if (error == 12345) return 1;
  *name = error == kCudaOutOfMemory ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OTHER";
  return kCudaSuccess;
}
FAKE CUresult cuGetErrorString(CUresult error, const char** string) {
  if (error == 12345) return 1;
  *string = error == kCudaOutOfMemory ? "out of memory" : "something else";
  return kCudaSuccess;
}
FAKE CUresult cuDeviceGetCount(int* count) {
  NOTE("cuDeviceGetCount");
  *count = 1;
  return kCudaSuccess;
}
FAKE CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  NOTE("cuDeviceGet", ordinal);
  *device = ordinal;
  return kCudaSuccess;
}
FAKE CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  NOTE("cuDeviceGetName", device);
  strncpy(name, "Fake GPU", length);
  return kCudaSuccess;
}
FAKE CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice) {
  NOTE("cuDeviceGetAttribute", attribute);
  *value = fakeCuda()->attributes[attribute];
  return kCudaSuccess;
}
FAKE CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  NOTE("cuDeviceGetUuid_v2", device);
  memset(uuid->bytes, 7, sizeof(uuid->bytes));
  return kCudaSuccess;
}
FAKE CUresult cuDeviceGetPCIBusId(char* id, int length, CUdevice device) {
  NOTE("cuDeviceGetPCIBusId", device);
  strncpy(id, "0000:17:00.0", length);
  return kCudaSuccess;
}
FAKE CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
  NOTE("cuDeviceCanAccessPeer", device, peer);
  *can = 1;
  return kCudaSuccess;
}
FAKE CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  NOTE("cuDevicePrimaryCtxRetain", device);
  *context = flexlink::test::fakePrimary();
  return kCudaSuccess;
}
FAKE CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  NOTE("cuDevicePrimaryCtxRelease_v2", device);
  return kCudaSuccess;
}
FAKE CUresult cuCtxGetCurrent(CUcontext* context) {
  *context = fakeCuda()->current;
  return kCudaSuccess;
}
FAKE CUresult cuCtxSetCurrent(CUcontext context) {
  NOTE("cuCtxSetCurrent", reinterpret_cast<uintptr_t>(context));
  fakeCuda()->current = context;
  return kCudaSuccess;
}
FAKE CUresult cuCtxGetDevice(CUdevice* device) {
  NOTE("cuCtxGetDevice");
  *device = 0;
  return kCudaSuccess;
}
FAKE CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned flags) {
  NOTE("cuCtxEnablePeerAccess", peer, flags);
  return kCudaSuccess;
}
FAKE CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  NOTE("cuMemAlloc_v2", bytes);
  *address = reinterpret_cast<CUdeviceptr>(malloc(bytes));
  return kCudaSuccess;
}
FAKE CUresult cuMemFree_v2(CUdeviceptr address) {
  NOTE("cuMemFree_v2");
  free(memory(address));
  return kCudaSuccess;
}
FAKE CUresult cuMemHostAlloc(void** start, size_t bytes, unsigned flags) {
  NOTE("cuMemHostAlloc", bytes, flags);
  *start = malloc(bytes);
  return kCudaSuccess;
}
FAKE CUresult cuMemFreeHost(void* start) {
  NOTE("cuMemFreeHost");
  free(start);
  return kCudaSuccess;
}
FAKE CUresult cuMemHostRegister_v2(void* start, size_t bytes, unsigned flags) {
  NOTE("cuMemHostRegister_v2", start, bytes, flags);
  return kCudaSuccess;
}
FAKE CUresult cuMemHostUnregister(void* start) {
  NOTE("cuMemHostUnregister", start);
  return kCudaSuccess;
}
FAKE CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* address, void* start, unsigned flags) {
  NOTE("cuMemHostGetDevicePointer_v2", flags);
  *address = reinterpret_cast<CUdeviceptr>(start);
  return kCudaSuccess;
}
FAKE CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned flags, int priority) {
  NOTE("cuStreamCreateWithPriority", flags, priority);
  *stream = handle<CUstream>(0x300);
  return kCudaSuccess;
}
FAKE CUresult cuStreamGetCtx(CUstream, CUcontext* context) {
  NOTE("cuStreamGetCtx");
  *context = flexlink::test::fakePrimary();
  return kCudaSuccess;
}
FAKE CUresult cuStreamSynchronize(CUstream stream) {
  NOTE("cuStreamSynchronize", stream);
  return kCudaSuccess;
}
FAKE CUresult cuStreamDestroy_v2(CUstream stream) {
  NOTE("cuStreamDestroy_v2", stream);
  return kCudaSuccess;
}
FAKE CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
  NOTE("cuStreamWaitEvent", stream, event, flags);
  return kCudaSuccess;
}
FAKE CUresult cuStreamIsCapturing(CUstream stream, int* status) {
  NOTE("cuStreamIsCapturing", stream);
  *status = fakeCuda()->captureStatus;
  return kCudaSuccess;
}
FAKE CUresult cuStreamGetCaptureInfo(CUstream stream, int* status, uint64_t* id) {
  NOTE("cuStreamGetCaptureInfo", stream);
  *status = fakeCuda()->captureStatus;
  *id = 5;
  return kCudaSuccess;
}
FAKE CUresult cuThreadExchangeStreamCaptureMode(int* mode) {
  NOTE("cuThreadExchangeStreamCaptureMode", *mode);
  std::swap(*mode, fakeCuda()->captureMode);
  return kCudaSuccess;
}
FAKE CUresult cuEventCreate(CUevent* event, unsigned flags) {
  NOTE("cuEventCreate", flags);
  *event = handle<CUevent>(0x400);
  return kCudaSuccess;
}
FAKE CUresult cuEventRecord(CUevent event, CUstream stream) {
  NOTE("cuEventRecord", event, stream);
  return kCudaSuccess;
}
FAKE CUresult cuEventQuery(CUevent event) {
  NOTE("cuEventQuery", event);
  return fakeCuda()->streamsBusy ? kCudaNotReady : kCudaSuccess;
}
FAKE CUresult cuEventSynchronize(CUevent event) {
  NOTE("cuEventSynchronize", event);
  return kCudaSuccess;
}
FAKE CUresult cuEventDestroy_v2(CUevent event) {
  NOTE("cuEventDestroy_v2", event);
  return kCudaSuccess;
}
FAKE CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  NOTE("cuMemcpyAsync", bytes, stream);
  memmove(memory(to), memory(from), bytes);
  return kCudaSuccess;
}
FAKE CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
  NOTE("cuMemsetD8Async", value, bytes, stream);
  memset(memory(to), value, bytes);
  return kCudaSuccess;
}
FAKE CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void* argument) {
  NOTE("cuLaunchHostFunc", stream);
  function(argument);
  return kCudaSuccess;
}
FAKE CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned count, int*,
                                 void**) {
  NOTE("cuModuleLoadDataEx", image, count);
  *module = handle<CUmodule>(0x500);
  return kCudaSuccess;
}
FAKE CUresult cuModuleUnload(CUmodule module) {
  NOTE("cuModuleUnload", module);
  return kCudaSuccess;
}
// A function is a copy of its name.
FAKE CUresult cuModuleGetFunction(CUfunction* function, CUmodule, const char* name) {
  NOTE("cuModuleGetFunction", name);
  *function = handle<CUfunction>(reinterpret_cast<uintptr_t>(fakeCuda()->keepName(name)));
  return kCudaSuccess;
}
FAKE CUresult cuLaunchKernel(CUfunction function, unsigned gridX, unsigned, unsigned,
                             unsigned blockX, unsigned, unsigned, unsigned, CUstream stream,
                             void** parameters, void**) {
  const char* name = reinterpret_cast<const char*>(function);
  NOTE("cuLaunchKernel", name, gridX, blockX, stream);
  if (fakeCuda()->launch) fakeCuda()->launch(name, parameters);
  return kCudaSuccess;
}

#if defined(FAKE_CUDA_OLD)
namespace {
CUresult hiddenStreamQuery(CUstream) {
  NOTE("cuStreamQuery");
  return kCudaSuccess;
}
}  // namespace

// As of CUDA 11.3: four parameters.
FAKE CUresult cuGetProcAddress(const char* name, void** function, int version, uint64_t flags) {
  NOTE("cuGetProcAddress", version, flags);
  *function =
      strcmp(name, "cuStreamQuery") == 0 ? reinterpret_cast<void*>(hiddenStreamQuery) : nullptr;
  return kCudaSuccess;
}
#else
FAKE CUresult cuStreamQuery(CUstream stream) {
  NOTE("cuStreamQuery", stream);
  return fakeCuda()->streamsBusy ? kCudaNotReady : kCudaSuccess;
}
FAKE CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  NOTE("cuCtxGetStreamPriorityRange");
  *least = 0;
  *greatest = -5;
  return kCudaSuccess;
}
// One allocation at a time is scripted; other addresses are unknown to the driver.
FAKE CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
  NOTE("cuMemGetAddressRange_v2");
  const auto& block = fakeCuda()->block;
  if (address < block.begin || address >= block.begin + block.bytes) return 1;
  *base = block.begin;
  *bytes = block.bytes;
  return kCudaSuccess;
}
FAKE CUresult cuPointerGetAttributes(unsigned count, int* attributes, void** values,
                                     CUdeviceptr address) {
  NOTE("cuPointerGetAttributes", count);
  const auto& block = fakeCuda()->block;
  const bool inside = address >= block.begin && address < block.begin + block.bytes;
  for (unsigned i = 0; i < count; ++i) {
    unsigned value = 0;
    if (inside && attributes[i] == kCudaPointerMemoryType) value = block.memoryType;
    if (inside && attributes[i] == kCudaPointerIsManaged) value = block.managed;
    memcpy(values[i], &value, attributes[i] == kCudaPointerIsManaged ? 1 : sizeof(value));
  }
  return kCudaSuccess;
}
FAKE CUresult cuIpcGetMemHandle(CUipcMemHandle* handle, CUdeviceptr address) {
  NOTE("cuIpcGetMemHandle");
  memset(handle, 0, sizeof(*handle));
  memcpy(handle->reserved, &address, sizeof(address));
  return kCudaSuccess;
}
FAKE CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* address, CUipcMemHandle handle, unsigned flags) {
  NOTE("cuIpcOpenMemHandle_v2", flags);
  memcpy(address, handle.reserved, sizeof(*address));
  return kCudaSuccess;
}
FAKE CUresult cuIpcCloseMemHandle(CUdeviceptr address) {
  NOTE("cuIpcCloseMemHandle", address == fakeCuda()->block.begin ? "base" : "other");
  return kCudaSuccess;
}
FAKE CUresult cuStreamWriteValue64_v2(CUstream stream, CUdeviceptr at, uint64_t value,
                                      unsigned flags) {
  NOTE("cuStreamWriteValue64_v2", stream, value, flags);
  memcpy(memory(at), &value, sizeof(value));
  return kCudaSuccess;
}
FAKE CUresult cuStreamWaitValue64_v2(CUstream stream, CUdeviceptr at, uint64_t value,
                                     unsigned flags) {
  NOTE("cuStreamWaitValue64_v2", stream, at != 0 ? "somewhere" : "null", value, flags);
  return kCudaSuccess;
}
#endif
