// SPDX-License-Identifier: Apache-2.0
// The vendor's libnccl, opened at run time: one table of its functions, nothing else. On host
// memory a second copy of this library stands in for it; its streams are those of flexlink.h.
#pragma once

#include <string>

#include "base/status.h"
#include "drivers/nccl_functions.h"

namespace flexlink {

// A member for each function, by its exported name; null where this library does not have it.
struct VendorApi {
#define X(result, name, ...) decltype(::name)* name = nullptr;
  FLEXLINK_NCCL_FUNCTIONS(X)
  FLEXLINK_HOST_FUNCTIONS(X)
#undef X
  std::string path;
  int version = 0;          // as its ncclGetVersion tells it
  bool isFlexlink = false;  // it is a copy of this library
};

// Has the vendor taken the call? kInProgress: it says later how that ended.
constexpr bool taken(ncclResult_t result) {
  return result == ncclSuccess || result == ncclInProgress;
}

// "2.32.3" for 23203.
std::string versionText(int version);

// Is it the file that this code was loaded from?
bool isThisLibrary(const std::string& path);

// Opens it at the first call, for as long as the process lives; later calls with the same path give
// the same table. `path`: absolute. kInvalidArgument, with the reason: it cannot be opened, has no
// version, or is this library itself. Any thread.
Result<const VendorApi*> openVendor(const std::string& path);

// While one lives, this thread is inside the vendor: what the vendor calls by its own exported
// names is its own affair. The way in which it is opened sees to that, but where a sanitizer
// refuses it: there the calls come to us, and are to be handed on as they are.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
class InsideVendor {
 public:
  InsideVendor() { ++depth; }
  ~InsideVendor() { --depth; }
  InsideVendor(const InsideVendor&) = delete;
  InsideVendor& operator=(const InsideVendor&) = delete;
  static bool now() { return depth > 0; }

 private:
  static inline thread_local constinit int depth = 0;
};
#else
class InsideVendor {
 public:
  InsideVendor() {}  // not trivial: an unused variable of it is no mistake
  static constexpr bool now() { return false; }
};
#endif

}  // namespace flexlink
