// SPDX-License-Identifier: Apache-2.0
// A call as 64 bits for ranks to compare, and in words for people. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "lane/batch.h"

namespace flexlink {

// Kind, type, op and root; the count travels beside it.
uint64_t packSignature(const Call& call);

// "AllReduce of 100 float32, sum", for messages.
std::string describeCall(uint64_t signature, uint64_t count);

}  // namespace flexlink
