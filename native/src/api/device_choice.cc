// SPDX-License-Identifier: Apache-2.0
// flexlinkFunctionOn: two tables of functions, for host memory and for GPUs, made from the one
// list.
#include "api/device_choice.h"

#include <string.h>

#include <type_traits>

#include "api/export.h"
#include "api/forward.h"
#include "api/mode.h"
#include "base/settings.h"

#define X(result, name, parameters, ...) extern "C" result p##name parameters;
FLEXLINK_NCCL_FUNCTIONS(X)
#undef X

namespace flexlink {
namespace {

enum class Choice { kProcess, kHost, kGpu };
thread_local constinit Choice choice = Choice::kProcess;

// What is called under it makes things there. Not nested: none of these calls another.
class Choosing {
 public:
  explicit Choosing(Choice where) noexcept { choice = where; }
  ~Choosing() { choice = Choice::kProcess; }
  Choosing(const Choosing&) = delete;
  Choosing& operator=(const Choosing&) = delete;
};

// Where calls pass through, ncclGetLastError is to give our text after it.
template <typename Function, typename... Arguments>
auto ours(Function* function, Arguments... arguments) noexcept {
  const Choosing here(Choice::kHost);
  if constexpr (std::is_same_v<decltype(function(arguments...)), ncclResult_t>) {
    const ncclResult_t result = function(arguments...);
    if (!taken(result)) lastFailureIsOurs = true;
    return result;
  } else {
    return function(arguments...);
  }
}

namespace host {
#define X(result, name, parameters, arguments, ...) \
  result name parameters noexcept { return ours(own::name FLEXLINK_AND arguments); }
FLEXLINK_NCCL_FUNCTIONS(X)
FLEXLINK_HOST_FUNCTIONS(X)
#undef X
}  // namespace host

// Where calls pass through, the exported function, by the name that tools do not replace.
namespace gpu {
#define FLEXLINK_ON_GPU(result, name, exported, parameters, arguments) \
  result name parameters noexcept {                                    \
    if (passThrough() != nullptr) return ::exported arguments;         \
    const Choosing here(Choice::kGpu);                                 \
    return own::name arguments;                                        \
  }
#define X(result, name, parameters, arguments, ...) \
  FLEXLINK_ON_GPU(result, name, p##name, parameters, arguments)
FLEXLINK_NCCL_FUNCTIONS(X)
#undef X
#define X(result, name, parameters, arguments) \
  FLEXLINK_ON_GPU(result, name, name, parameters, arguments)
FLEXLINK_HOST_FUNCTIONS(X)
#undef X
}  // namespace gpu

struct Named {
  const char* name;
  flexlinkFunction_t host;
  flexlinkFunction_t gpu;
};

// Of flexlink.h. What it lacks of NCCL's API answers with an error.
bool vendorLacks(const char* asked) {
  const VendorApi* vendor = passThrough();
  if (vendor == nullptr) return false;
#define X(result, name, ...) \
  if (vendor->name == nullptr && strcmp(asked, #name) == 0) return true;
  FLEXLINK_HOST_FUNCTIONS(X)
#undef X
  return false;
}

flexlinkFunction_t find(const char* asked, bool onGpu) {
  static const Named kFunctions[] = {
#define X(result, name, ...)                                \
  {#name, reinterpret_cast<flexlinkFunction_t>(host::name), \
   reinterpret_cast<flexlinkFunction_t>(gpu::name)},
      FLEXLINK_NCCL_FUNCTIONS(X) FLEXLINK_HOST_FUNCTIONS(X)
#undef X
  };
  if (onGpu && vendorLacks(asked)) return nullptr;
  for (const Named& each : kFunctions) {
    if (strcmp(each.name, asked) == 0) return onGpu ? each.gpu : each.host;
  }
  return nullptr;
}

}  // namespace

bool makesOnGpu() noexcept {
  return choice == Choice::kGpu || (choice == Choice::kProcess && settings().device == "cuda");
}

Status mayCreate() {
  switch (choice) {
    case Choice::kHost:
      return {};
    case Choice::kGpu:
      return mayUseGpus();
    case Choice::kProcess:
      break;
  }
  return mayUseDevice();
}

}  // namespace flexlink

FLEXLINK_OWN_API(flexlinkFunction_t, flexlinkFunctionOn,
                 (flexlinkDevice_t device, const char* name)) {
  if (name == nullptr || (device != flexlinkHost && device != flexlinkCuda)) return nullptr;
  return flexlink::find(name, device == flexlinkCuda);
}
