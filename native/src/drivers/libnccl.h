// SPDX-License-Identifier: Apache-2.0
// The vendor's libnccl, opened at run time: one table of its functions, nothing else. On host
// memory a second copy of this library stands in for it; its streams are those of flexlink.h.
#pragma once

#include <string>

#include "base/status.h"
#include "flexlink/flexlink.h"
#include "flexlink/nccl.h"

namespace flexlink {

// member, exported name
#define FLEXLINK_VENDOR_FUNCTIONS(X)                \
  X(getVersion, ncclGetVersion)                     \
  X(getErrorString, ncclGetErrorString)             \
  X(getLastError, ncclGetLastError)                 \
  X(getUniqueId, ncclGetUniqueId)                   \
  X(commInitRankConfig, ncclCommInitRankConfig)     \
  X(commGetAsyncError, ncclCommGetAsyncError)       \
  X(commAbort, ncclCommAbort)                       \
  X(commDestroy, ncclCommDestroy)                   \
  X(groupStart, ncclGroupStart)                     \
  X(groupEnd, ncclGroupEnd)                         \
  X(allGather, ncclAllGather)                       \
  X(reduceScatter, ncclReduceScatter)               \
  X(allReduce, ncclAllReduce)                       \
  X(broadcast, ncclBroadcast)                       \
  X(reduce, ncclReduce)                             \
  X(send, ncclSend)                                 \
  X(recv, ncclRecv)                                 \
  X(redOpCreatePreMulSum, ncclRedOpCreatePreMulSum) \
  X(redOpDestroy, ncclRedOpDestroy)

// Null where the vendor is older than 2.28.
#define FLEXLINK_NEWER_VENDOR_FUNCTIONS(X) \
  X(alltoAll, ncclAlltoAll)                \
  X(gather, ncclGather)                    \
  X(scatter, ncclScatter)

// Of a library that works on host memory.
#define FLEXLINK_HOST_STREAM_FUNCTIONS(X) \
  X(streamCreate, flexlinkStreamCreate)   \
  X(streamDestroy, flexlinkStreamDestroy) \
  X(streamQuery, flexlinkStreamQuery)

struct VendorApi {
#define X(member, name) decltype(::name)* member = nullptr;
  FLEXLINK_VENDOR_FUNCTIONS(X)
  FLEXLINK_NEWER_VENDOR_FUNCTIONS(X)
  FLEXLINK_HOST_STREAM_FUNCTIONS(X)
#undef X
  std::string path;
  int version = 0;  // as ncclGetVersion tells it
};

// Is it the file that this code was loaded from?
bool isThisLibrary(const std::string& path);

// Opens it at the first call, for as long as the process lives; later calls with the same path give
// the same table. `path`: absolute. kInvalidArgument, with the reason: it cannot be opened, lacks a
// function, does not work on host memory, or is this library itself. Any thread.
Result<const VendorApi*> openVendor(const std::string& path);

}  // namespace flexlink
