// SPDX-License-Identifier: Apache-2.0
// What tests do differently in a build with sanitizers. Nothing here touches a promise.
#pragma once

#include <cstdlib>

namespace ranktest {

#if defined(__SANITIZE_THREAD__)
constexpr double kSlowdown = 6;
#elif defined(__SANITIZE_ADDRESS__)
constexpr double kSlowdown = 3;
#else
constexpr double kSlowdown = 1;  // factor for deadlines of whole runs
#endif
constexpr bool kSanitized = kSlowdown > 1;

// How many of `cases` like ones a test goes through: sanitizers look at how the code is, not at
// what it computes; scripts/soak has the rest.
inline int inReach(int cases) {
  return kSanitized && getenv("FLEXLINK_SOAK") == nullptr ? (cases + 3) / 4 : cases;
}

}  // namespace ranktest
