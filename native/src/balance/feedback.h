// SPDX-License-Identifier: Apache-2.0
// Stage 2: weights that follow what operations of one kind and size really took. A pure state
// machine: it is told bytes and times, it takes none. Not for two threads at once.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "balance/path_model.h"
#include "balance/weights.h"

namespace flexlink {

// Each operation's times correct the paths' rates; a fit with the corrected rates says what the
// best weights would be. They move half way there when the gain was larger than the noise for
// several operations in a row. A path that carries nothing is tried again now and then; so is the
// fastest path alone: where paths share what carries them (a core, a bus), each of them looks worth
// its share, and only an operation without the others tells that all of it gains nothing.
class Feedback {
 public:
  // A trial gives at most this part of an operation to a path that carries nothing.
  static constexpr uint32_t kTrialWeight = kWholeWeight / 128;
  // Operations: how long a gain must last; a trial, and the shortest and longest pause before one.
  static constexpr uint32_t kPatience = 4;
  static constexpr uint32_t kTrialLength = 4;
  static constexpr uint32_t kShortestPause = 64;
  static constexpr uint32_t kLongestPause = 4096;
  // Operations in a row after which a split has proved to be worth while, or not.
  static constexpr uint32_t kJudged = 8;

  // `paths`: what stage 1 believes, at most kMostLanes; the first weights are their fit for
  // `bytes` (> 0), what a rank sends in an operation of this size. Numbers as fit() wants them.
  Feedback(std::span<const PathModel> paths, double bytes);

  // The same with these weights first: of the paths without a share nothing is known. They are
  // tried at once.
  Feedback(std::span<const PathModel> paths, double bytes, const Weights& first);

  // The weights for the next operation.
  const Weights& weights() const { return trying_ >= 0 ? trial_ : weights_; }

  // Where the weights are now, any trial aside.
  const Weights& settled() const { return weights_; }

  // The path that is being tried, with a small part or alone; or -1.
  int trying() const { return trying_; }

  // Bytes/s of a path as it was seen last, beside the others.
  double rate(int path) const { return models_[static_cast<size_t>(path)].rate; }

  // An operation is done: path i has carried bytes[i] in seconds[i]. A path without bytes was not
  // used. True when weights() has changed.
  bool observe(std::span<const double> bytes, std::span<const double> seconds);

 private:
  void learn(size_t path, double bytes, double seconds);
  bool reconsider();
  Weights target() const;
  double predicted(const Weights& weights) const;
  double threshold() const;
  double worthWhile() const;
  bool moveTowards(const Weights& target);
  void giveUp();
  void compare(double seconds);
  void tryOrRest();
  void startTrial(size_t path);
  void endTrial();
  bool isAlone() const { return isAlone(weights()); }
  static bool isAlone(const Weights& weights) {
    return weights.parts[static_cast<size_t>(weights.fastest)] == kWholeWeight;
  }

  std::span<const PathModel> models() const {
    return {models_.data(), static_cast<size_t>(weights_.lanes)};
  }

  struct Trial {
    uint64_t due = kShortestPause;    // operations_ from which on the path is tried
    uint32_t pause = kShortestPause;  // before the next one; doubles with each
  };

  std::array<PathModel, kMostLanes> models_{};
  std::array<Trial, kMostLanes> trials_{};
  Weights weights_;
  Weights trial_;  // what weights() says while trying_ >= 0
  double bytes_;
  double noise_ = 0;  // how far a sample is from what was expected, relative; an average
  uint64_t operations_ = 0;
  uint32_t agreeing_ = 0;  // operations in a row in which moving would have paid
  int trying_ = -1;
  uint32_t tried_ = 0;                       // operations of the trial at hand
  std::array<double, kTrialLength> seen_{};  // bytes/s, or seconds alone, in each of them
  double aloneSeconds_ = 0;  // of an operation on the fastest path alone; 0: unknown
  double splitSeconds_ = 0;  // by a split, the average of the last few
  uint32_t better_ = 0;      // operations in a row in which the split gained something
  uint32_t worse_ = 0;       // and in which it did not
  bool proved_ = false;      // this split, or one that it came from, was worth while
  bool mayMove_ = true;      // not after a retreat, until a trial has told something new
};

}  // namespace flexlink
