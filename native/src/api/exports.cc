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

// In pass-through calls that the vendor makes while it is called go straight to it.
#define FLEXLINK_BODY(name, arguments, handedOver)                    \
  {                                                                   \
    const flexlink::VendorApi* vendor = flexlink::passThrough();      \
    if (vendor == nullptr) return flexlink::own::name arguments;      \
    if (flexlink::InsideVendor::now()) return vendor->name arguments; \
    return handedOver;                                                \
  }
#define FLEXLINK_CALL_BODY(name, arguments, kind)                                  \
  FLEXLINK_BODY(name, arguments,                                                   \
                flexlink::handOverCall(flexlink::Collective::kind, *vendor, #name, \
                                       vendor->name FLEXLINK_AND arguments))
#define FLEXLINK_PLAIN_BODY(name, arguments) \
  FLEXLINK_BODY(name, arguments,             \
                flexlink::handOver(*vendor, #name, vendor->name FLEXLINK_AND arguments))
#define FLEXLINK_LIFE_BODY(name, arguments) \
  FLEXLINK_BODY(name, arguments, flexlink::life::name arguments)

#define X(result, name, parameters, arguments, kind) \
  FLEXLINK_TWINS(result, name, parameters) FLEXLINK_CALL_BODY(name, arguments, kind)
FLEXLINK_NCCL_CALLS(X)
#undef X

#define X(result, name, parameters, arguments) \
  FLEXLINK_TWINS(result, name, parameters) FLEXLINK_PLAIN_BODY(name, arguments)
FLEXLINK_NCCL_PLAIN(X)
#undef X

#define X(result, name, parameters, arguments) \
  FLEXLINK_TWINS(result, name, parameters) FLEXLINK_LIFE_BODY(name, arguments)
FLEXLINK_NCCL_LIFE(X)
#undef X

#define X(result, name, parameters, arguments) \
  FLEXLINK_ALONE(result, name, parameters) FLEXLINK_PLAIN_BODY(name, arguments)
FLEXLINK_HOST_PLAIN(X)
#undef X

#define X(result, name, parameters, arguments) \
  FLEXLINK_ALONE(result, name, parameters) FLEXLINK_LIFE_BODY(name, arguments)
FLEXLINK_HOST_LIFE(X)
#undef X
