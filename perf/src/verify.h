// SPDX-License-Identifier: Apache-2.0
// Fills a rank's buffers with known inputs and compares every element that the collective must have
// written, every element it must not have touched, and the bytes behind the buffers. No tolerance.
#pragma once

#include <cstdint>

#include "backend.h"
#include "values.h"

namespace flexlink::perf {

// Bytes behind each buffer that belong to the benchmark; nobody may write there.
inline constexpr size_t kGuardBytes = 64;

// One rank, one collective. `call` points at buffers of Shape's sizes plus kGuardBytes.
struct CheckCase {
  Call call;
  Shape shape;
  int rank = 0;
  int ranks = 1;
  bool inPlace = false;
  uint64_t seed = 0;  // another seed for each check, so that left-over data cannot look right
};

void fillForCheck(const CheckCase& check);

// Number of wrong elements (a damaged guard or input counts as one for each element).
uint64_t countWrong(const CheckCase& check);

}  // namespace flexlink::perf
