// SPDX-License-Identifier: Apache-2.0
// How an exported function is defined, and the edge between Status and ncclResult_t: no exception
// and no C++ type passes it. Nothing here knows a communicator.
#pragma once

#include <type_traits>
#include <utility>

#include "base/status.h"
#include "flexlink/flexlink.h"
#include "flexlink/nccl.h"

// Defines ncclX and its twin, as the vendor does: the code is the strong pncclX, ncclX is a weak
// alias that a profiling tool may replace. Inside the library call neither (a replaced ncclX would
// see our own calls): call what is behind them.
//
//   FLEXLINK_API(ncclResult_t, ncclCommCount, (const ncclComm_t comm, int* count)) {
//     return flexlink::guarded([&]() -> flexlink::Status { ... });
//   }
// nothrow: what `guarded` promises; said on both, so that GCC need not find it out. Clang takes it
// for part of the type, which the header, being C, does not say.
#ifdef __clang__
#define FLEXLINK_NOTHROW
#else
#define FLEXLINK_NOTHROW nothrow,
#endif
#define FLEXLINK_API(result, name, args)                                                     \
  extern "C" __attribute__((FLEXLINK_NOTHROW weak, visibility("default"), alias("p" #name))) \
  result name args;                                                                          \
  extern "C" __attribute__((FLEXLINK_NOTHROW visibility("default"))) result p##name args

// Defines a function of flexlink.h: strong, no twin.
#define FLEXLINK_OWN_API(result, name, args) \
  extern "C" __attribute__((visibility("default"))) result name args

namespace flexlink {

// Keeps the text of a failed call for ncclGetLastError of the calling thread (cut at 1023 bytes).
// Success and kInProgress keep what was there.
void setLastError(const Status& status) noexcept;

// "" when no call of this thread failed yet; valid until the thread's next failing call.
const char* lastErrorText() noexcept;

// setLastError, a line under NCCL_DEBUG=WARN, and the code as the caller's result.
ncclResult_t resultOf(const Status& status) noexcept;

// Inside a catch block only: the same for the exception that is being handled.
ncclResult_t resultOfException() noexcept;

// Runs the body of an exported function; it returns a Status, or an ncclResult_t when it has
// called resultOf itself. No memory is kSystem, any other exception a bug: kInternal.
template <typename Body>
ncclResult_t guarded(Body&& body) noexcept {
  try {
    if constexpr (std::is_same_v<std::invoke_result_t<Body>, ncclResult_t>) {
      return std::forward<Body>(body)();
    } else {
      return resultOf(std::forward<Body>(body)());
    }
  } catch (...) {
    return resultOfException();
  }
}

}  // namespace flexlink
