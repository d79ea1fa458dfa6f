// SPDX-License-Identifier: Apache-2.0
// Every exported function that is not ours alone: in own mode it is what FLEXLINK_API has defined,
// in pass-through the vendor's. Made from the one list of functions.
#include "api/export.h"
#include "api/forward.h"
#include "api/forward_life.h"
#include "api/mode.h"

// As the vendor does: the code is the strong pncclX, ncclX is a weak alias that a profiling tool
// may replace.
//
// nothrow: what is behind them promises it; said on both, so that GCC need not find it out. Clang
// takes it for part of the type, which the header, being C, does not say.
#ifdef __clang__
#define FLEXLINK_NOTHROW
#else
#define FLEXLINK_NOTHROW nothrow,
#endif
#define FLEXLINK_TWINS(result, name, parameters)                                             \
  extern "C" __attribute__((FLEXLINK_NOTHROW weak, visibility("default"), alias("p" #name))) \
  result name parameters;                                                                    \
  extern "C" __attribute__((FLEXLINK_NOTHROW visibility("default"))) result p##name parameters
#define FLEXLINK_ALONE(result, name, parameters) \
  extern "C" __attribute__((FLEXLINK_NOTHROW visibility("default"))) result name parameters

namespace flexlink {
namespace {

// vendor.name with the arguments that follow.
template <FunctionKind kKind, typename Function>
struct Door {
  const VendorApi& vendor;
  const char* name;
  Function function;

  template <typename... Arguments>
  auto operator()(Arguments... arguments) const noexcept {
    if (InsideVendor::now()) return function(arguments...);
    if constexpr (kKind < FunctionKind::kLife) {
      return handOverCall(static_cast<Collective>(kKind), vendor, name, function, arguments...);
    } else {
      return handOver(vendor, name, function, arguments...);
    }
  }
};

template <FunctionKind kKind, typename Function>
Door<kKind, Function> door(const VendorApi& vendor, const char* name, Function function) {
  return {vendor, name, function};
}

}  // namespace
}  // namespace flexlink

#define FLEXLINK_BODY(kind, name, arguments)                                                     \
  {                                                                                              \
    const flexlink::VendorApi* vendor = flexlink::passThrough();                                 \
    if (vendor == nullptr) return flexlink::own::name arguments;                                 \
    return flexlink::door<flexlink::FunctionKind::kind>(*vendor, #name, vendor->name) arguments; \
  }
#define FLEXLINK_LIFE_BODY(name, arguments)                           \
  {                                                                   \
    const flexlink::VendorApi* vendor = flexlink::passThrough();      \
    if (vendor == nullptr) return flexlink::own::name arguments;      \
    if (flexlink::InsideVendor::now()) return vendor->name arguments; \
    return flexlink::life::name arguments;                            \
  }

#define X(kind, result, name, parameters, arguments) \
  FLEXLINK_TWINS(result, name, parameters) FLEXLINK_BODY(kind, name, arguments)
FLEXLINK_NCCL_CALLS(X)
FLEXLINK_NCCL_PLAIN(X)
#undef X

#define X(kind, result, name, parameters, arguments) \
  FLEXLINK_TWINS(result, name, parameters) FLEXLINK_LIFE_BODY(name, arguments)
FLEXLINK_NCCL_LIFE(X)
#undef X

#define X(kind, result, name, parameters, arguments) \
  FLEXLINK_ALONE(result, name, parameters) FLEXLINK_BODY(kind, name, arguments)
FLEXLINK_HOST_PLAIN(X)
#undef X

#define X(kind, result, name, parameters, arguments) \
  FLEXLINK_ALONE(result, name, parameters) FLEXLINK_LIFE_BODY(name, arguments)
FLEXLINK_HOST_LIFE(X)
#undef X
