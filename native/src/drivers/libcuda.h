// SPDX-License-Identifier: Apache-2.0
// The CUDA driver's libcuda, opened at run time: one table of its functions, nothing else. A driver
// may be older or newer than this list: what it lacks is null, and a call of it says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "base/status.h"
#include "drivers/libcuda_types.h"

namespace flexlink {

// member, name, what follows it in the exported name, CUDA version that brought this form,
// parameters. The exported name fixes the form of the parameters, whatever the driver's own
// version.
// clang-format off
#define FLEXLINK_CUDA_FUNCTIONS(X) \
  X(init, cuInit,, 2000, (unsigned flags)) \
  X(driverGetVersion, cuDriverGetVersion,, 2020, (int* version)) \
  X(getErrorName, cuGetErrorName,, 6000, (CUresult error, const char** name)) \
  X(getErrorString, cuGetErrorString,, 6000, (CUresult error, const char** text)) \
  X(deviceGetCount, cuDeviceGetCount,, 2000, (int* count)) \
  X(deviceGet, cuDeviceGet,, 2000, (CUdevice* device, int ordinal)) \
  X(deviceGetName, cuDeviceGetName,, 2000, (char* name, int length, CUdevice device)) \
  X(deviceGetAttribute, cuDeviceGetAttribute,, 2000, (int* value, int attribute, CUdevice device)) \
  X(deviceGetUuid, cuDeviceGetUuid, _v2, 11040, (CUuuid* uuid, CUdevice device)) \
  X(deviceGetPciBusId, cuDeviceGetPCIBusId,, 4010, (char* id, int length, CUdevice device)) \
  X(deviceCanAccessPeer, cuDeviceCanAccessPeer,, 4000, (int* can, CUdevice device, CUdevice peer)) \
  X(primaryCtxRetain, cuDevicePrimaryCtxRetain,, 7000, (CUcontext* context, CUdevice device)) \
  X(primaryCtxRelease, cuDevicePrimaryCtxRelease, _v2, 11000, (CUdevice device)) \
  X(ctxGetCurrent, cuCtxGetCurrent,, 4000, (CUcontext* context)) \
  X(ctxSetCurrent, cuCtxSetCurrent,, 4000, (CUcontext context)) \
  X(ctxGetDevice, cuCtxGetDevice,, 2000, (CUdevice* device)) \
  X(ctxGetStreamPriorityRange, cuCtxGetStreamPriorityRange,, 5050, (int* least, int* greatest)) \
  X(ctxEnablePeerAccess, cuCtxEnablePeerAccess,, 4000, (CUcontext peer, unsigned flags)) \
  X(memAlloc, cuMemAlloc, _v2, 3020, (CUdeviceptr* address, size_t bytes)) \
  X(memFree, cuMemFree, _v2, 3020, (CUdeviceptr address)) \
  X(memGetAddressRange, cuMemGetAddressRange, _v2, 3020, (CUdeviceptr* base, size_t* bytes, CUdeviceptr address)) \
  X(memHostAlloc, cuMemHostAlloc,, 2020, (void** memory, size_t bytes, unsigned flags)) \
  X(memFreeHost, cuMemFreeHost,, 2000, (void* memory)) \
  X(memHostRegister, cuMemHostRegister, _v2, 6050, (void* memory, size_t bytes, unsigned flags)) \
  X(memHostUnregister, cuMemHostUnregister,, 4000, (void* memory)) \
  X(memHostGetDevicePointer, cuMemHostGetDevicePointer, _v2, 3020, (CUdeviceptr* address, void* memory, unsigned flags)) \
  X(pointerGetAttributes, cuPointerGetAttributes,, 7000, (unsigned count, int* attributes, void** values, CUdeviceptr address)) \
  X(ipcGetMemHandle, cuIpcGetMemHandle,, 4010, (CUipcMemHandle* handle, CUdeviceptr address)) \
  X(ipcOpenMemHandle, cuIpcOpenMemHandle, _v2, 11000, (CUdeviceptr* address, CUipcMemHandle handle, unsigned flags)) \
  X(ipcCloseMemHandle, cuIpcCloseMemHandle,, 4010, (CUdeviceptr address)) \
  X(streamCreateWithPriority, cuStreamCreateWithPriority,, 5050, (CUstream* stream, unsigned flags, int priority)) \
  X(streamGetCtx, cuStreamGetCtx,, 9020, (CUstream stream, CUcontext* context)) \
  X(streamQuery, cuStreamQuery,, 2000, (CUstream stream)) \
  X(streamSynchronize, cuStreamSynchronize,, 2000, (CUstream stream)) \
  X(streamDestroy, cuStreamDestroy, _v2, 4000, (CUstream stream)) \
  X(streamWaitEvent, cuStreamWaitEvent,, 3020, (CUstream stream, CUevent event, unsigned flags)) \
  X(streamIsCapturing, cuStreamIsCapturing,, 10000, (CUstream stream, int* status)) \
  X(streamGetCaptureInfo, cuStreamGetCaptureInfo,, 10010, (CUstream stream, int* status, uint64_t* id)) \
  X(exchangeCaptureMode, cuThreadExchangeStreamCaptureMode,, 10010, (int* mode)) \
  X(eventCreate, cuEventCreate,, 2000, (CUevent* event, unsigned flags)) \
  X(eventRecord, cuEventRecord,, 2000, (CUevent event, CUstream stream)) \
  X(eventQuery, cuEventQuery,, 2000, (CUevent event)) \
  X(eventSynchronize, cuEventSynchronize,, 2000, (CUevent event)) \
  X(eventDestroy, cuEventDestroy, _v2, 4000, (CUevent event)) \
  X(memcpyAsync, cuMemcpyAsync,, 4000, (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)) \
  X(memsetAsync, cuMemsetD8Async,, 3020, (CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream)) \
  X(streamWriteValue64, cuStreamWriteValue64, _v2, 11070, (CUstream stream, CUdeviceptr at, uint64_t value, unsigned flags)) \
  X(streamWaitValue64, cuStreamWaitValue64, _v2, 11070, (CUstream stream, CUdeviceptr at, uint64_t value, unsigned flags)) \
  X(launchKernel, cuLaunchKernel,, 4000, (CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes, CUstream stream, void** parameters, void** extra)) \
  X(launchHostFunc, cuLaunchHostFunc,, 10000, (CUstream stream, CUhostFn function, void* argument)) \
  X(moduleLoadDataEx, cuModuleLoadDataEx,, 2010, (CUmodule* module, const void* image, unsigned count, int* options, void** values)) \
  X(moduleGetFunction, cuModuleGetFunction,, 2000, (CUfunction* function, CUmodule module, const char* name)) \
  X(moduleUnload, cuModuleUnload,, 2000, (CUmodule module))
// clang-format on

// One function of the driver, called like the function itself. Where the driver lacks it, the call
// does nothing and gives kCudaNotSupported.
template <typename Function>
struct CudaFunction;
template <typename... Parameters>
struct CudaFunction<CUresult(Parameters...)> {
  const char* name = "";   // as it is exported
  const char* plain = "";  // as cuGetProcAddress knows it
  int since = 0;           // CUDA version, 1000 × major + 10 × minor
  CUresult (*address)(Parameters...) = nullptr;

  CUresult operator()(Parameters... arguments) const {
    return address == nullptr ? kCudaNotSupported : address(arguments...);
  }
};

struct CudaDriver {
#define X(member, plain, form, since, parameters) \
  CudaFunction<CUresult parameters> member{#plain #form, #plain, since};
  FLEXLINK_CUDA_FUNCTIONS(X)
#undef X
  std::string path;                  // as it was asked for
  int version = 0;                   // of CUDA, as since above; 0: the driver does not say
  std::vector<const char*> missing;  // exported names of what is null

  // What `function` gave, as a Status of kCuda: its name, the driver's text and name of the error;
  // or that this driver lacks it, and which has it. Any thread.
  template <typename Function>
  Status check(const CudaFunction<Function>& function, CUresult result) const {
    if (result == kCudaSuccess) return {};
    if (function.address == nullptr) return lacks(function.name, function.since);
    return failed(function.name, result);
  }

  // ok where the driver has it.
  template <typename Function>
  Status has(const CudaFunction<Function>& function) const {
    return function.address == nullptr ? lacks(function.name, function.since) : Status();
  }

  // Calls it and checks what it gave.
  template <typename Function, typename... Arguments>
  Status run(const CudaFunction<Function>& function, Arguments... arguments) const {
    return check(function, function(arguments...));
  }

 private:
  Status lacks(const char* function, int since) const;
  Status failed(const char* function, CUresult result) const;
};

// "12.4" for 12040.
std::string cudaVersionText(int version);

inline constexpr const char* kCudaLibrary = "libcuda.so.1";

// Opens it at the first call, for as long as the process lives; later calls with the same path give
// the same table. It does not initialise CUDA: init() does, after which a child made by fork cannot
// use CUDA any more, so that is left until somebody asks for a device. kCuda, with the reason,
// where it cannot be opened. Any thread.
Result<const CudaDriver*> openCudaDriver(const std::string& path = kCudaLibrary);

}  // namespace flexlink
