// SPDX-License-Identifier: Apache-2.0
// Finds out whether the processor's counter can be the probe's clock.
#include "probe/ticks.h"

#include <cstring>

#include "base/small_file.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace flexlink {
namespace {

bool processorSaysSteady() {
#if defined(__x86_64__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kPowerManagement = 0x80000007;
  constexpr unsigned kInvariantTsc = 1u << 8;
  return __get_cpuid(kPowerManagement, &eax, &ebx, &ecx, &edx) != 0 && (edx & kInvariantTsc) != 0;
#elif defined(__aarch64__)
  return true;  // the generic timer is one counter for the whole system
#else
  return false;
#endif
}

}  // namespace

bool clockSourceTrustsCounter(const char* clockSource) {
  // These are made from the counter. With any other (hpet, acpi_pm, ...) the kernel gave it up.
  for (const char* made : {"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"}) {
    if (std::strcmp(clockSource, made) == 0) return true;
  }
  return false;
}

bool counterIsSteady() {
  char source[64];
  readSmallFile("/sys/devices/system/clocksource/clocksource0/current_clocksource", source,
                sizeof(source));
  source[std::strcspn(source, "\n")] = '\0';
  return processorSaysSteady() && clockSourceTrustsCounter(source);
}

ClockPair readClockPair(bool counter) {
  if (!counter) {
    const auto nanos = static_cast<uint64_t>(nowNanos());
    return {nanos, nanos};
  }
  ClockPair best;
  uint64_t bestWidth = UINT64_MAX;
  for (int i = 0; i < 3; ++i) {
    const uint64_t before = counterTicks();
    const auto nanos = static_cast<uint64_t>(nowNanos());
    const uint64_t width = counterTicks() - before;
    if (width >= bestWidth) continue;
    bestWidth = width;
    best = {before + width / 2, nanos};
  }
  return best;
}

}  // namespace flexlink
