// SPDX-License-Identifier: Apache-2.0
// Which of a few ways is faster for operations of one kind and size, found out by using all. Pure:
// it is told times, it takes none.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace flexlink {

// The last times of each way are smoothed, so that a machine that changes its mind (cores that are
// moved apart, a neighbour that comes or goes) changes the choice within a few operations. A way
// that lost is tried again now and then, the less often the worse it was: all retries together cost
// about 1 % of the time each.
class WayChooser {
 public:
  static constexpr int kWays = 4;

  // `possible`: bit w set: way w may be taken; not 0.
  int choose(unsigned possible) {
    ++asked_;
    int best = -1;
    for (int way = 0; way < kWays; ++way) {
      if ((possible >> way & 1) == 0) continue;
      const Way& one = ways_[static_cast<size_t>(way)];
      if (one.tried < kTrials) return way;
      if (best < 0 || one.nanos < ways_[static_cast<size_t>(best)].nanos) best = way;
    }
    double fastest = std::max(ways_[static_cast<size_t>(best)].nanos, 1.0);
    for (int way = 0; way < kWays; ++way) {
      if (way == best || (possible >> way & 1) == 0) continue;
      const Way& one = ways_[static_cast<size_t>(way)];
      double patience = kRetry * std::min(one.nanos / fastest, kMostPatience);
      if (asked_ - one.usedAt > patience) return way;
    }
    return best;
  }

  void report(int way, int64_t nanos) {
    Way& one = ways_[static_cast<size_t>(way)];
    // The first use of a way pays for page faults and mappings: it is not held against it. What was
    // measured long ago tells nothing of today.
    bool stale = asked_ - one.usedAt >= kRetry / 2;
    one.usedAt = asked_;
    if (one.tried++ <= 1 || stale) {
      one.nanos = static_cast<double>(nanos);
    } else {
      one.nanos += kWeight * (static_cast<double>(nanos) - one.nanos);
    }
  }

 private:
  static constexpr uint32_t kTrials = 3;
  static constexpr uint32_t kRetry = 100;
  static constexpr double kMostPatience = 16;
  static constexpr double kWeight = 0.3;

  struct Way {
    double nanos = 0;
    uint32_t tried = 0;
    uint64_t usedAt = 0;  // asked_ at its last use
  };
  std::array<Way, kWays> ways_;
  uint64_t asked_ = 0;
};

}  // namespace flexlink
