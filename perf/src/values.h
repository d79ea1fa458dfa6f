// SPDX-License-Identifier: Apache-2.0
// Inputs whose collective results are known exactly, for every type and op: chosen so that every
// partial sum or product in any order is representable and no rounding can occur. Pure: a value is
// a function of (type, op, ranks, seed, rank, index). README.md ("What -c checks") has the design.
#pragma once

#include <cstdint>
#include <vector>

#include "cases.h"

namespace flexlink::perf {

// Values repeat with this period. A prime, so that no chunk, page or vector boundary falls on the
// same values again, and a shifted or swapped chunk is a mismatch.
inline constexpr size_t kPeriod = 16381;

struct Recipe {
  Type type = Type::kFloat;
  Op op = Op::kSum;  // kNone: any bits
  int ranks = 1;
  uint64_t seed = 0;
};

// One period of elements in the type's own bytes (kPeriod × typeSize).
using Pattern = std::vector<uint8_t>;

Pattern contributionOf(const Recipe& recipe, int rank);  // what that rank puts in
Pattern resultOf(const Recipe& recipe);                  // what the op makes of all ranks

// The factor of that rank under kMulSum: 1 or 2 for floats, 1 to 3 for integers.
int scalarOf(Type type, int rank);

// Writes `value` in the type's own bytes (typeSize). False if the type cannot hold it exactly.
bool encode(Type type, double value, void* bytes);

}  // namespace flexlink::perf
