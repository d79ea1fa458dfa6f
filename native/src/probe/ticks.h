// SPDX-License-Identifier: Apache-2.0
// The probe's clock: the processor's counter where it runs at one rate on all cores, else
// CLOCK_MONOTONIC in nanoseconds. Ticks are for this machine only and are turned into time by
// readers.
#pragma once

#include <cstdint>
#include <ctime>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace flexlink {

inline uint64_t monotonicNanos() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

// Only meaningful where counterIsSteady().
inline uint64_t counterTicks() {
#if defined(__x86_64__)
  return __rdtsc();  // not serializing: a few instructions early or late is below the resolution
#elif defined(__aarch64__)
  uint64_t ticks;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
  return monotonicNanos();
#endif
}

// The counter exists, keeps one rate in all power states, and is the same on all cores.
bool counterIsSteady();

}  // namespace flexlink
