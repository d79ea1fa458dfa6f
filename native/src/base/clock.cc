// SPDX-License-Identifier: Apache-2.0
// The monotonic clock and the arithmetic of deadlines, saturating instead of wrapping.
#include "base/clock.h"

#include <time.h>

#include <algorithm>
#include <climits>

namespace flexlink {

int64_t nowNanos() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Deadline Deadline::after(std::chrono::nanoseconds span) {
  const int64_t now = nowNanos();
  const int64_t nanos = std::max<int64_t>(span.count(), 0);
  return Deadline(nanos > kNever - now ? kNever : now + nanos);
}

Deadline Deadline::afterSecondsOrNever(double seconds) {
  // 1e9 s are 30 years; beyond, the conversion to nanoseconds would overflow.
  if (!(seconds > 0) || seconds > 1e9) return never();
  return after(std::chrono::nanoseconds(static_cast<int64_t>(seconds * 1e9)));
}

int64_t Deadline::remainingNanos() const {
  if (isNever()) return INT64_MAX;
  return std::max<int64_t>(at_ - nowNanos(), 0);
}

int Deadline::pollMillis() const {
  if (isNever()) return -1;
  const int64_t nanos = remainingNanos();
  const int64_t millis = nanos / 1'000'000 + (nanos % 1'000'000 != 0);
  return static_cast<int>(std::min<int64_t>(millis, INT_MAX));
}

}  // namespace flexlink
