// SPDX-License-Identifier: Apache-2.0
// The library under test: any libnccl, opened by path, as a table of the public functions that the
// benchmark calls. Nothing of it is linked, so that one program can measure several.
#pragma once

#include <string>

#include "flexlink/flexlink.h"
#include "flexlink/nccl.h"

namespace flexlink::perf {

// Without these the benchmark cannot run at all.
#define FLEXLINK_PERF_NEEDED(X) \
  X(ncclGetVersion)             \
  X(ncclGetErrorString)         \
  X(ncclGetUniqueId)            \
  X(ncclCommInitRank)           \
  X(ncclCommInitRankConfig)     \
  X(ncclCommDestroy)            \
  X(ncclGroupStart)             \
  X(ncclGroupEnd)               \
  X(ncclAllReduce)              \
  X(ncclAllGather)              \
  X(ncclBroadcast)              \
  X(ncclReduceScatter)          \
  X(ncclReduce)                 \
  X(ncclSend)                   \
  X(ncclRecv)

// Null where the library lacks them; what needs them says so.
#define FLEXLINK_PERF_OPTIONAL(X) \
  X(ncclGetLastError)             \
  X(ncclCommGetAsyncError)        \
  X(ncclAlltoAll)                 \
  X(ncclGather)                   \
  X(ncclScatter)                  \
  X(ncclMemAlloc)                 \
  X(ncclMemFree)                  \
  X(ncclCommRegister)             \
  X(ncclCommWindowRegister)       \
  X(ncclCommMemStats)             \
  X(ncclRedOpCreatePreMulSum)     \
  X(flexlinkGetVersion)           \
  X(flexlinkStreamCreate)         \
  X(flexlinkStreamDestroy)        \
  X(flexlinkStreamSynchronize)

struct NcclLibrary {
#define X(name) decltype(&::name) name = nullptr;
  FLEXLINK_PERF_NEEDED(X)
  FLEXLINK_PERF_OPTIONAL(X)
#undef X
  std::string path;
  int version = 0;

  // "FlexLink 0.1.0 (NCCL 2.32.3)" or "NCCL 2.27.3".
  std::string describe() const;

  // What the library says about a result: its name for it and the text of the last error.
  std::string explain(ncclResult_t result) const;
};

// The library to open: `asked` if not empty, else FLEXLINK_LIBRARY, else libflexlink.so in the
// program's folder or the one above it, else the loader's search for libflexlink.so.
std::string libraryPath(const std::string& asked);

// Opens it for the life of the process. On failure `error` says what was tried and what to do.
bool openLibrary(const std::string& path, NcclLibrary* library, std::string* error);

}  // namespace flexlink::perf
