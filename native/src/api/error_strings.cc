// SPDX-License-Identifier: Apache-2.0
// ncclGetErrorString, ncclGetLastError, and where the text of a failed call is kept until asked.
#include <algorithm>
#include <cstring>
#include <exception>
#include <new>

#include "api/export.h"
#include "base/log.h"

namespace flexlink {
namespace {

constexpr size_t kLastErrorBytes = 1024;

// One per thread, so that a text never changes under a reader. A plain array: it has no destructor
// that could run before the last call of a dying thread.
thread_local constinit char lastError[kLastErrorBytes] = {};

void keepText(const char* text) noexcept {
  size_t length = std::min(std::strlen(text), kLastErrorBytes - 1);
  std::memmove(lastError, text, length);  // the text may be lastErrorText() itself
  lastError[length] = '\0';
}

// NCCL_DEBUG=WARN, which the error strings point to, shows the text too. A line that cannot be
// written must not turn one error into another.
void warn(const char* text) noexcept {
  try {
    FLEXLINK_WARN("%s", text);
  } catch (...) {
  }
}

}  // namespace

void setLastError(const Status& status) noexcept {
  if (status.ok() || status.code() == Code::kInProgress) return;
  keepText(status.text());
}

const char* lastErrorText() noexcept { return lastError; }

ncclResult_t resultOf(const Status& status) noexcept {
  setLastError(status);
  if (!status.ok() && status.code() != Code::kInProgress) warn(status.text());
  return static_cast<ncclResult_t>(status.code());
}

ncclResult_t resultOfException() noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    keepText("out of memory: the call was given up; free memory or raise the cgroup's limit");
    warn(lastError);
    return ncclSystemError;
  } catch (const std::exception& error) {
    keepText(error.what());
  } catch (...) {
    keepText("an exception of unknown type reached the C edge: a bug of FlexLink");
  }
  warn(lastError);
  return ncclInternalError;
}

}  // namespace flexlink

// Programs compare and parse these: they are the vendor's, to the letter.
FLEXLINK_API(const char*, ncclGetErrorString, (ncclResult_t result)) {
  switch (static_cast<int>(result)) {
    case ncclSuccess:
      return "no error";
    case ncclUnhandledCudaError:
      return "unhandled cuda error (run with NCCL_DEBUG=INFO for details)";
    case ncclSystemError:
      return "unhandled system error (run with NCCL_DEBUG=INFO for details)";
    case ncclInternalError:
      return "internal error - please report this issue to the NCCL developers";
    case ncclInvalidArgument:
      return "invalid argument (run with NCCL_DEBUG=WARN for details)";
    case ncclInvalidUsage:
      return "invalid usage (run with NCCL_DEBUG=WARN for details)";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclInProgress:
      return "NCCL operation in progress";
    case ncclTimeout:
      return "timeout";
    default:
      return "unknown result code";
  }
}

// The communicator does not matter: the text belongs to the call that failed on this thread.
FLEXLINK_API(const char*, ncclGetLastError, (ncclComm_t)) { return flexlink::lastErrorText(); }
