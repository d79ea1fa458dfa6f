// SPDX-License-Identifier: Apache-2.0
// Time inside this host: a monotonic clock and deadlines made from it. Its values mean nothing on
// another host and nothing as a date.
#pragma once

#include <chrono>
#include <cstdint>

namespace flexlink {

int64_t nowNanos();  // CLOCK_MONOTONIC

// A moment after which waiting ends. A small value: copy it down through every nested wait, so that
// all of them share one limit.
class Deadline {
 public:
  static constexpr Deadline never() { return Deadline(kNever); }
  static Deadline after(std::chrono::nanoseconds span);  // a span <= 0 has passed at once

  // For settings where 0 (or less) means "no limit".
  static Deadline afterSecondsOrNever(double seconds);

  static constexpr Deadline earlier(Deadline a, Deadline b) { return a.at_ < b.at_ ? a : b; }

  bool isNever() const { return at_ == kNever; }
  bool passed() const { return !isNever() && nowNanos() >= at_; }
  int64_t remainingNanos() const;  // >= 0; INT64_MAX for never
  int pollMillis() const;          // for poll and epoll_wait: rounded up; -1 for never
  int64_t atNanos() const { return at_; }

 private:
  static constexpr int64_t kNever = INT64_MAX;
  constexpr explicit Deadline(int64_t at) : at_(at) {}

  int64_t at_;  // ns of CLOCK_MONOTONIC
};

}  // namespace flexlink
