// SPDX-License-Identifier: Apache-2.0
// A call as 64 bits for ranks to compare, and in words for people. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "lane/batch.h"
#include "probe/probe_writer.h"

namespace flexlink {

// Kind, type, op and root; the count travels beside it.
uint64_t packSignature(const Call& call);

// What ranks compare: of the user's call, where this one is a part of it.
inline uint64_t signatureOf(const Call& call) {
  return call.whole != nullptr ? call.whole->signature : packSignature(call);
}
inline uint64_t countOf(const Call& call) {
  return call.whole != nullptr ? call.whole->count : call.count;
}

// Of a message, whose two ends are alike but for their kind.
inline uint64_t messageSignature(const Call& call) {
  if (call.whole != nullptr) return call.whole->signature;
  return static_cast<uint64_t>(Collective::kSend) | static_cast<uint64_t>(call.type) << 8;
}

// The call as the probe shows it; `bytes` of it will have moved at the end.
ProbeSignature probeCall(const Call& call, size_t bytes);

// "AllReduce of 100 float32, sum", for messages.
std::string describeCall(uint64_t signature, uint64_t count);

}  // namespace flexlink
