// SPDX-License-Identifier: Apache-2.0
// How an exported function is defined, and the edge between Status and ncclResult_t: no exception
// and no C++ type passes it. Nothing here knows a communicator.
#pragma once

#include <type_traits>
#include <utility>

#include "base/status.h"
#include "drivers/nccl_functions.h"

// Defines what the exported ncclX does in own mode; exports.cc exports it and its twin pncclX, and
// hands over to the vendor in pass-through. Inside the library call neither (a tool that replaced
// ncclX would see our own calls): call what is behind them.
//
//   FLEXLINK_API(ncclResult_t, ncclCommCount, (const ncclComm_t comm, int* count)) {
//     return flexlink::guarded([&]() -> flexlink::Status { ... });
//   }
#define FLEXLINK_API(result, name, args) result flexlink::own::name args

// The list's "(a, b)" behind other arguments.
#define FLEXLINK_AND(...) __VA_OPT__(, ) __VA_ARGS__

namespace flexlink::own {
#define X(result, name, parameters, ...) result name parameters;
FLEXLINK_NCCL_FUNCTIONS(X)
FLEXLINK_HOST_FUNCTIONS(X)
#undef X
}  // namespace flexlink::own

// Defines a function of flexlink.h that is ours whatever stands behind the others: strong, no twin.
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
