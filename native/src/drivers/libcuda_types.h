// SPDX-License-Identifier: Apache-2.0
// Types and numbers of the CUDA driver's interface, so that no CUDA header is needed to build.
// tests/unit/libcuda_declarations_test.cc compares them with cuda.h where that is installed.
#pragma once

namespace flexlink {

// cuda.h's own names, so that its documentation is found under them.
using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CuContextHandle*;
using CUstream = struct CuStreamHandle*;
using CUevent = struct CuEventHandle*;
using CUmodule = struct CuModuleHandle*;
using CUfunction = struct CuFunctionHandle*;
using CUhostFn = void (*)(void* argument);
struct CUuuid {
  char bytes[16];
};
struct CUipcMemHandle {
  char reserved[64];
};

// Numbers of cuda.h, all enums as int: name here, name there, value.
#define FLEXLINK_CUDA_NUMBERS(X)                                                           \
  X(kCudaSuccess, CUDA_SUCCESS, 0)                                                         \
  X(kCudaOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY, 2)                                         \
  X(kCudaDeinitialized, CUDA_ERROR_DEINITIALIZED, 4)                                       \
  X(kCudaNoDevice, CUDA_ERROR_NO_DEVICE, 100)                                              \
  X(kCudaNotReady, CUDA_ERROR_NOT_READY, 600)                                              \
  X(kCudaPeerAlreadyEnabled, CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, 704)                  \
  X(kCudaAlreadyRegistered, CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, 712)                \
  X(kCudaNotSupported, CUDA_ERROR_NOT_SUPPORTED, 801)                                      \
  X(kCudaMultiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16)                    \
  X(kCudaComputeMajor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 75)                   \
  X(kCudaComputeMinor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 76)                   \
  X(kCudaUnifiedAddressing, CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 41)                    \
  X(kCudaCopyEngines, CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 40)                          \
  X(kCudaStreamValues64, CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, 122)           \
  X(kCudaHostPointerAsIs, CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 91) \
  X(kCudaPointerContext, CU_POINTER_ATTRIBUTE_CONTEXT, 1)                                  \
  X(kCudaPointerMemoryType, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, 2)                           \
  X(kCudaPointerDeviceAddress, CU_POINTER_ATTRIBUTE_DEVICE_POINTER, 3)                     \
  X(kCudaPointerIsManaged, CU_POINTER_ATTRIBUTE_IS_MANAGED, 8)                             \
  X(kCudaPointerDevice, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, 9)                            \
  X(kCudaPointerIpcCapable, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, 10)           \
  X(kCudaPointerRangeStart, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, 11)                     \
  X(kCudaPointerRangeSize, CU_POINTER_ATTRIBUTE_RANGE_SIZE, 12)                            \
  X(kCudaMemoryHost, CU_MEMORYTYPE_HOST, 1)                                                \
  X(kCudaMemoryDevice, CU_MEMORYTYPE_DEVICE, 2)                                            \
  X(kCudaHostPortable, CU_MEMHOSTALLOC_PORTABLE, 1)                                        \
  X(kCudaHostMapped, CU_MEMHOSTALLOC_DEVICEMAP, 2)                                         \
  X(kCudaRegisterPortable, CU_MEMHOSTREGISTER_PORTABLE, 1)                                 \
  X(kCudaRegisterMapped, CU_MEMHOSTREGISTER_DEVICEMAP, 2)                                  \
  X(kCudaIpcLazyPeer, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS, 1)                               \
  X(kCudaStreamNonBlocking, CU_STREAM_NON_BLOCKING, 1)                                     \
  X(kCudaEventNoTiming, CU_EVENT_DISABLE_TIMING, 2)                                        \
  X(kCudaWaitGreaterOrEqual, CU_STREAM_WAIT_VALUE_GEQ, 0)                                  \
  X(kCudaWriteDefault, CU_STREAM_WRITE_VALUE_DEFAULT, 0)                                   \
  X(kCudaCaptureNone, CU_STREAM_CAPTURE_STATUS_NONE, 0)                                    \
  X(kCudaCaptureActive, CU_STREAM_CAPTURE_STATUS_ACTIVE, 1)                                \
  X(kCudaCaptureInvalidated, CU_STREAM_CAPTURE_STATUS_INVALIDATED, 2)                      \
  X(kCudaCaptureModeRelaxed, CU_STREAM_CAPTURE_MODE_RELAXED, 2)                            \
  X(kCudaJitErrorLog, CU_JIT_ERROR_LOG_BUFFER, 5)                                          \
  X(kCudaJitErrorLogBytes, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, 6)
#define X(name, theirs, value) inline constexpr int name = value;
FLEXLINK_CUDA_NUMBERS(X)
#undef X

}  // namespace flexlink
