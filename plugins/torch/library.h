// SPDX-License-Identifier: Apache-2.0
// The functions of libflexlink that the plugin calls. The library is opened by its absolute path,
// never linked: a torch for CUDA has a vendor's libnccl.so.2 loaded, which has the same SONAME.
#pragma once

#include <string>

#include "flexlink/flexlink.h"
#include "flexlink/nccl.h"

// clang-format off
#define FLEXLINK_TORCH_FUNCTIONS(X)                                                              \
  X(ncclGetUniqueId) X(ncclCommInitRankConfig) X(ncclCommSplit) X(ncclCommShrink)                \
  X(ncclCommFinalize) X(ncclCommDestroy) X(ncclCommAbort) X(ncclCommGetAsyncError)               \
  X(ncclGetLastError) X(ncclGetErrorString) X(ncclGroupStart) X(ncclGroupEnd)                    \
  X(ncclAllReduce) X(ncclReduce) X(ncclBroadcast) X(ncclAllGather) X(ncclReduceScatter)          \
  X(ncclAlltoAll) X(ncclGather) X(ncclScatter) X(ncclSend) X(ncclRecv)                           \
  X(ncclRedOpCreatePreMulSum) X(ncclRedOpDestroy) X(ncclMemAlloc) X(ncclMemFree)                 \
  X(flexlinkStreamCreate) X(flexlinkStreamDestroy) X(flexlinkStreamRecord)                       \
  X(flexlinkStreamWait) X(flexlinkStreamNotify) X(flexlinkCommSetTimeout)                        \
  X(flexlinkCommWaitsFor) X(flexlinkCommLeave)
// clang-format on

namespace flexlink::pytorch {

// For communicators on one device.
struct Library {
  // Of a result that is neither success nor ncclInProgress: "`what` failed: " and the library's
  // text. In the thread that made the failed call.
  std::string failureText(ncclResult_t result, const char* what) const;

  // Throws that as DistBackendError unless the result is ncclSuccess or ncclInProgress.
  void check(ncclResult_t result, const char* what) const;

  // Runs call(0) to call(count - 1) as one group of the library; the first error ends them.
  template <typename Call>
  ncclResult_t grouped(size_t count, Call&& call) const {
    ncclResult_t result = ncclGroupStart();
    if (result != ncclSuccess) return result;
    for (size_t i = 0; i < count && result == ncclSuccess; ++i) result = call(i);
    ncclResult_t ended = ncclGroupEnd();
    return result != ncclSuccess ? result : ended;
  }

#define FLEXLINK_TORCH_MEMBER(name) decltype(&::name) name = nullptr;
  FLEXLINK_TORCH_FUNCTIONS(FLEXLINK_TORCH_MEMBER)
#undef FLEXLINK_TORCH_MEMBER
};

// Opens the library at `path`; once for each process, before anything else here. Throws a
// DistBackendError that says what the dynamic linker said. With the GIL or another lock.
void openLibrary(const std::string& path);

const Library& hostLibrary();

// The first call decides whether the vendor stands behind it; functions of flexlink.h are null
// where that one lacks them.
const Library& gpuLibrary();

}  // namespace flexlink::pytorch
