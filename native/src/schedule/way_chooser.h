// SPDX-License-Identifier: Apache-2.0
// Which of a few ways is faster for operations of one kind and size, found out by using all. Pure:
// it is told times, it takes none.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

namespace flexlink {

// One way is at home; the others are tried for a few operations each, at first and then now and
// then, the less often the worse they were: trials of one way cost about 1 % of the time. A machine
// that changes its mind (cores that are moved apart, a neighbour that comes or goes) makes the home
// way slower than what is remembered of another, which is then tried at once.
class WayChooser {
 public:
  static constexpr int kWays = 3;

  // `first`: the way that is tried first.
  explicit WayChooser(int first = 0) : home_(first), current_(first) {}

  int home() const { return home_; }

  // The way that the next operation is to take.
  int way() const { return current_; }

  // An operation has taken `way` for `nanos`. `possible`: bit w set: way w may be taken next; bit 0
  // is set. Way 0 shows its pace only after `warmUp` operations in a row (caches must be filled);
  // at first, when nothing is known, it is judged at once, and soon again.
  void report(int way, int64_t nanos, unsigned possible, uint32_t warmUp) {
    ++operations_;
    if ((possible >> current_ & 1) == 0) return giveUp(possible);
    if (way != current_) return;  // decided before the last decision
    ++run_;
    uint32_t ignored = way == 0 && ways_[0].trials != 0 ? warmUp : 1;
    if (trial_ ? run_ <= ignored : run_ <= 1) return;
    Way& one = ways_[static_cast<size_t>(way)];
    auto sample = static_cast<double>(nanos);
    if (trial_) {
      sampled_[one.samples] = sample;
      if (++one.samples < kSamples) return;
      std::sort(sampled_.begin(), sampled_.end());
      one.nanos = sampled_[kSamples / 2];
      return endTrial(possible, ignored);
    }
    // One interrupt must not look like a slow way; a slow way looks so again and again.
    one.nanos += kWeight * (std::min(sample, kOutlier * one.nanos) - one.nanos);
    for (int other = 0; other < kWays; ++other) {
      if (other == home_ || (possible >> other & 1) == 0) continue;
      const Way& it = ways_[static_cast<size_t>(other)];
      if (it.nanos * kMargin < one.nanos || operations_ >= it.due) return startTrial(other);
    }
  }

 private:
  static constexpr uint32_t kSamples = 3;
  static constexpr double kRetry = 100;
  static constexpr double kFirstRetry = 6;
  static constexpr double kMostPatience = 16;
  static constexpr double kWeight = 0.1;
  static constexpr double kOutlier = 2;
  static constexpr double kMargin = 1.25;

  struct Way {
    double nanos = 0;
    uint32_t samples = 0;  // of the last trial; 0 before the first
    uint64_t due = 0;      // operations_ from which on it is tried again
    uint32_t trials = 0;
  };

  bool known(int way) const { return ways_[static_cast<size_t>(way)].samples == kSamples; }

  void startTrial(int way) {
    trial_ = true;
    ways_[static_cast<size_t>(way)].samples = 0;
    current_ = way;
    run_ = 0;
  }

  void endTrial(unsigned possible, uint32_t ignored) {
    trial_ = false;
    Way& tried = ways_[static_cast<size_t>(current_)];
    ++tried.trials;
    int other = home_;
    if (!known(home_) || tried.nanos < ways_[static_cast<size_t>(home_)].nanos) home_ = current_;
    if (other == home_) other = current_;
    double ratio = ways_[static_cast<size_t>(other)].nanos /
                   std::max(ways_[static_cast<size_t>(home_)].nanos, 1.0);
    double patience = std::min(kRetry, kFirstRetry * std::exp2(tried.trials));
    double pause = patience * (ignored + kSamples) * std::clamp(ratio, 1.0, kMostPatience);
    tried.due = ways_[static_cast<size_t>(other)].due = operations_ + static_cast<uint64_t>(pause);
    goHome(possible);
  }

  // What was chosen turned out to be impossible here.
  void giveUp(unsigned possible) {
    Way& gone = ways_[static_cast<size_t>(current_)];
    gone = {std::numeric_limits<double>::max(), kSamples,
            operations_ + static_cast<uint64_t>(kRetry * kMostPatience), gone.trials + 1};
    trial_ = false;
    if (home_ == current_) {
      home_ = 0;
      if (!known(home_)) return startTrial(home_);
    }
    goHome(possible);
  }

  void goHome(unsigned possible) {
    current_ = home_;
    run_ = 0;
    for (int way = 0; way < kWays; ++way) {
      if ((possible >> way & 1) != 0 && !known(way)) return startTrial(way);
    }
  }

  std::array<Way, kWays> ways_;
  std::array<double, kSamples> sampled_{};  // of the trial at hand
  int home_;
  int current_;
  bool trial_ = true;
  uint32_t run_ = 0;  // operations in a row that took current_
  uint64_t operations_ = 0;
};

}  // namespace flexlink
