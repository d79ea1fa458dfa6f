// SPDX-License-Identifier: Apache-2.0
// Which of two ways is faster for operations of one kind and size, found out by using both. Pure:
// it is told times, it takes none.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace flexlink {

// The last times of each way are smoothed, so that a machine that changes its mind (cores that are
// moved apart, a neighbour that comes or goes) changes the choice within a few operations; the way
// that lost is tried again now and then.
class WayChooser {
 public:
  static constexpr int kWays = 2;

  int choose() {
    ++asked_;
    for (int way = 0; way < kWays; ++way) {
      if (tried_[static_cast<size_t>(way)] < kTrials) return way;
    }
    int best = nanos_[0] <= nanos_[1] ? 0 : 1;
    return asked_ % kRetry == 0 ? 1 - best : best;
  }

  void report(int way, int64_t nanos) {
    auto at = static_cast<size_t>(way);
    // The first use of a way pays for page faults and mappings: it is not held against it. What was
    // measured long ago tells nothing of today.
    bool stale = asked_ - usedAt_[at] >= kRetry / 2;
    usedAt_[at] = asked_;
    if (tried_[at]++ <= 1 || stale) {
      nanos_[at] = static_cast<double>(nanos);
    } else {
      nanos_[at] += kWeight * (static_cast<double>(nanos) - nanos_[at]);
    }
  }

 private:
  static constexpr uint32_t kTrials = 3;
  static constexpr uint32_t kRetry = 101;  // about 1 % of the operations
  static constexpr double kWeight = 0.3;

  std::array<double, kWays> nanos_{};
  std::array<uint32_t, kWays> tried_{};
  std::array<uint32_t, kWays> usedAt_{};
  uint32_t asked_ = 0;
};

}  // namespace flexlink
