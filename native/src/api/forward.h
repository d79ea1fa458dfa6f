// SPDX-License-Identifier: Apache-2.0
// How a call is handed to the vendor: one indirect call, with an error where the vendor lacks the
// function. Calls that enqueue work are shown in the probe; lanes beside the vendor may carry a
// part of one (cut_calls.h).
#pragma once

#include <type_traits>

#include "api/cut_calls.h"
#include "comm/passed_comms.h"
#include "drivers/libnccl.h"

namespace flexlink {

// Of the calling thread: whose text ncclGetLastError is to give.
extern thread_local constinit bool lastFailureIsOurs;

// Keeps the text that says what the vendor lacks.
void refuseMissing(const VendorApi& vendor, const char* function) noexcept;

// What a function gives that the vendor does not have.
template <typename Value>
Value nothing() noexcept {
  if constexpr (std::is_same_v<Value, ncclResult_t>) return ncclInvalidUsage;
  if constexpr (std::is_same_v<Value, int>) return -1;
  if constexpr (std::is_same_v<Value, const char*>) return "";
  if constexpr (std::is_same_v<Value, ncclTeam_t>) return ncclTeam_t{0, 0, 0};
}

// Arguments as they are.
template <typename Value, typename... Arguments>
Value handOver(const VendorApi& vendor, const char* name, Value (*function)(Arguments...),
               std::type_identity_t<Arguments>... arguments) noexcept {
  if (function == nullptr) [[unlikely]] {
    refuseMissing(vendor, name);
    return nothing<Value>();
  }
  [[maybe_unused]] InsideVendor inside;
  if constexpr (std::is_same_v<Value, ncclResult_t>) {
    ncclResult_t result = function(arguments...);
    if (!taken(result)) lastFailureIsOurs = false;
    return result;
  } else {
    return function(arguments...);
  }
}

// The facts of a call by the types of its arguments, which are in NCCL's own order: the first
// number of bytes or elements is the count, the first int the root or peer.
inline void note(PassedCall& call, ncclComm_t comm) { call.comm = comm; }
inline void note(PassedCall& call, ncclDataType_t type) { call.type = type; }
inline void note(PassedCall& call, ncclRedOp_t op) { call.op = op; }
inline void note(PassedCall& call, size_t count) {
  call.count = call.count != 0 ? call.count : count;
}
inline void note(PassedCall& call, int root) { call.root = call.root >= 0 ? call.root : root; }
inline void note(PassedCall& call, cudaStream_t stream) { call.stream = stream; }
inline void note(PassedCall& call, const ncclCollConfig_t* config) { call.config = config; }
inline void note(PassedCall& call, const void* buffer) {  // the first is sent, of one it is both
  if (call.pointers++ == 0) call.send = buffer;
  call.recv = buffer;
}
inline void note(PassedCall&, unsigned) {}

template <typename... Arguments>
ncclResult_t handOverCall(Collective kind, const VendorApi& vendor, const char* name,
                          ncclResult_t (*function)(Arguments...),
                          std::type_identity_t<Arguments>... arguments) noexcept {
  if (function == nullptr) return handOver(vendor, name, function, arguments...);
  PassedCall call{kind};
  (note(call, arguments), ...);
  PassedWatch watch(vendor, call);
  auto whole = [&] { return handOver(vendor, name, function, arguments...); };
  ncclResult_t result = watch.side() ? callBoth(vendor, &watch, call, whole) : whole();
  watch.ended(result);
  if (!taken(result)) [[unlikely]]
    failGroup(vendor, result);
  return result;
}

}  // namespace flexlink
