// SPDX-License-Identifier: Apache-2.0
// The probe's clock: the processor's counter where it runs at one rate on all cores, else
// CLOCK_MONOTONIC in nanoseconds. Ticks mean nothing on another machine; readers turn them into
// time.
#pragma once

#include <cstdint>

#include "base/clock.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace flexlink {

// Only meaningful where counterIsSteady().
inline uint64_t counterTicks() {
#if defined(__x86_64__)
  return __rdtsc();  // not serializing: some instructions early or late is below the resolution
#elif defined(__aarch64__)
  uint64_t ticks;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
  return static_cast<uint64_t>(nowNanos());
#endif
}

// The counter keeps one rate in all power states and is the same on all cores, as far as processor
// and kernel say. Reads files: cold.
bool counterIsSteady();

// The pure part: whether a kernel that keeps time with `clockSource` has trust in the counter.
bool clockSourceTrustsCounter(const char* clockSource);

struct ClockPair {
  uint64_t ticks = 0;
  uint64_t nanos = 0;  // CLOCK_MONOTONIC at ticks
};

// Both clocks at one moment; the best of a few tries, as a thread may be put aside in between.
ClockPair readClockPair(bool counter);

}  // namespace flexlink
