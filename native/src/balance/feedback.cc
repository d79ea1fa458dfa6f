// SPDX-License-Identifier: Apache-2.0
// How stage 2 learns, when it moves and when it tries.
#include "balance/feedback.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "balance/fit.h"

namespace flexlink {
namespace {

// Of a new sample in the average of a rate: the last ten or so operations count.
constexpr double kMemory = 0.2;
// One interrupt must not look like a slow path: a sample counts for at most this factor.
constexpr double kOutlier = 2;
// The least relative gain for which weights move at all.
constexpr double kLeastGain = 0.01;
// An average with kMemory keeps a third of a sample's noise, sqrt(kMemory / (2 - kMemory)). A gain
// counts from three times that on, the more so as it must last.
constexpr double kNoiseFactor = 1.0;
// A split that gains this much is worth while, whatever the noise.
constexpr double kMostProof = 0.05;

}  // namespace

Feedback::Feedback(std::span<const PathModel> paths, double bytes) : bytes_(bytes) {
  std::copy(paths.begin(), paths.end(), models_.begin());
  weights_.lanes = static_cast<int32_t>(paths.size());
  weights_ = target();
}

Feedback::Feedback(std::span<const PathModel> paths, double bytes, const Weights& first)
    : Feedback(paths, bytes) {
  weights_ = first;
  for (size_t i = 0; i < paths.size(); ++i) {
    if (first.parts[i] == 0) trials_[i].due = 0;
  }
}

bool Feedback::observe(std::span<const double> bytes, std::span<const double> seconds) {
  ++operations_;
  double slowest = 0;
  for (size_t i = 0; i < models().size(); ++i) {
    if (bytes[i] <= 0 || seconds[i] <= 0) continue;
    learn(i, bytes[i], seconds[i]);
    slowest = std::max(slowest, seconds[i]);
  }
  compare(slowest);
  Weights before = weights();
  if (trying_ >= 0 || !reconsider()) tryOrRest();
  return weights() != before;
}

void Feedback::learn(size_t path, double bytes, double seconds) {
  PathModel& model = models_[path];
  double start = startOf(model);
  if (seconds <= start) {
    // It was faster than its latency allows: there is less of that than was believed.
    model.latency *= seconds / (2 * start);
    start = startOf(model);
  }
  double copied = timeOf(model, bytes) - start;  // by today's rate
  double ratio = copied / (seconds - start);
  if (trying_ == static_cast<int>(path)) {
    seen_[tried_] = isAlone() ? seconds : model.rate * ratio;
    return;
  }
  ratio = std::clamp(ratio, 1 / kOutlier, kOutlier);
  noise_ += kMemory * (std::abs(1 - 1 / ratio) - noise_);
  model.rate *= 1 + kMemory * (ratio - 1);
}

// What whole operations take, alone and split.
void Feedback::compare(double seconds) {
  if (trying_ >= 0 || seconds <= 0) return;
  if (isAlone()) {
    aloneSeconds_ += (aloneSeconds_ == 0 ? 1 : kMemory) * (seconds - aloneSeconds_);
    splitSeconds_ = 0;
    return;
  }
  splitSeconds_ += (splitSeconds_ == 0 ? 1 : kMemory) * (seconds - splitSeconds_);
  if (aloneSeconds_ == 0) return;
  bool gains = splitSeconds_ < worthWhile();
  better_ = gains ? better_ + 1 : 0;
  worse_ = gains ? 0 : worse_ + 1;
  if (better_ != kJudged) return;
  proved_ = true;
  for (Trial& trial : trials_) trial.pause = kShortestPause;
}

// Never slower: a split that gains nothing over its fastest path alone is given up, if a trial
// shows that this path is still as fast.
void Feedback::giveUp() {
  weights_ = allOn(weights_.fastest, weights_.lanes);
  agreeing_ = worse_ = better_ = 0;
  mayMove_ = std::exchange(proved_, false);
  for (size_t i = 0; i < models().size(); ++i) {
    Trial& trial = trials_[i];
    trial.pause = std::min(2 * trial.pause, kLongestPause);
    trial.due = operations_ + trial.pause;
  }
}

Weights Feedback::target() const {
  Result<Fit> best = fit(models(), {}, bytes_);
  if (!best.ok() || bytes_ <= 0) return weights_;
  return weightsOf(best.value().bytes);
}

double Feedback::predicted(const Weights& weights) const {
  double slowest = 0;
  for (size_t i = 0; i < models().size(); ++i) {
    slowest = std::max(slowest, timeOf(models_[i], bytes_ * weights.parts[i] / kWholeWeight));
  }
  return slowest;
}

double Feedback::threshold() const { return std::max(kLeastGain, kNoiseFactor * noise_); }

// Seconds that a split has to stay below. The noise that counts is that of whole operations; after
// a path has changed there is much in its rate.
double Feedback::worthWhile() const {
  return aloneSeconds_ * (1 - std::min(threshold(), kMostProof));
}

bool Feedback::reconsider() {
  if (!mayMove_) return false;
  Weights best = target();
  double gain = predicted(weights_) / predicted(best) - 1;
  agreeing_ = gain > threshold() ? agreeing_ + 1 : 0;
  if (agreeing_ < kPatience) return false;
  agreeing_ = 0;
  return moveTowards(best);
}

// Half of the way, but the whole of it where that is less than a trial.
bool Feedback::moveTowards(const Weights& target) {
  std::array<double, kMostLanes> next{};
  for (size_t i = 0; i < models().size(); ++i) {
    double from = weights_.parts[i], to = target.parts[i];
    next[i] = std::abs(to - from) <= kTrialWeight ? to : (from + to) / 2;
  }
  Weights moved = weightsOf({next.data(), models().size()});
  bool changed = moved.parts != weights_.parts;
  if (changed && proved_) worse_ = 0;
  if (moved.fastest != weights_.fastest) aloneSeconds_ = 0;
  if (isAlone(weights_)) {
    trials_[static_cast<size_t>(moved.fastest)].due = operations_ + kShortestPause;
  }
  weights_ = moved;
  return changed;
}

void Feedback::tryOrRest() {
  if (trying_ >= 0) {
    if (++tried_ >= kTrialLength) endTrial();
    return;
  }
  if (worse_ >= kJudged) return startTrial(static_cast<size_t>(weights_.fastest));
  for (size_t i = 0; i < models().size(); ++i) {
    bool alone = static_cast<int32_t>(i) == weights_.fastest && !isAlone();
    bool may = weights_.parts[i] == 0 || alone;
    if (may && operations_ >= trials_[i].due) return startTrial(i);
  }
}

// As little as is done in time by what was seen last: a trial must not hold the operation up.
void Feedback::startTrial(size_t path) {
  trying_ = static_cast<int>(path);
  tried_ = 0;
  if (weights_.parts[path] != 0) {
    trial_ = allOn(trying_, weights_.lanes);
    seen_.fill(aloneSeconds_);
    return;
  }
  double inTime = bytesWithin(models_[path], predicted(weights_)) / bytes_ * kWholeWeight;
  auto part = static_cast<uint16_t>(std::clamp(inTime, 1.0, double{kTrialWeight}));
  seen_.fill(models_[path].rate);
  trial_ = weights_;
  trial_.parts[path] = part;
  uint16_t& giver = trial_.parts[static_cast<size_t>(weights_.fastest)];
  giver = static_cast<uint16_t>(giver - part);
}

// The median: one of the operations may have met an interrupt.
void Feedback::endTrial() {
  auto path = static_cast<size_t>(trying_);
  bool alone = isAlone() && !isAlone(weights_);
  std::sort(seen_.begin(), seen_.end());
  double median = (seen_[kTrialLength / 2 - 1] + seen_[kTrialLength / 2]) / 2;
  (alone ? aloneSeconds_ : models_[path].rate) = median;
  Trial& trial = trials_[path];
  trial.pause = std::min(2 * trial.pause, kLongestPause);
  trial.due = operations_ + trial.pause;
  trying_ = -1;
  worse_ = 0;
  mayMove_ = true;
  if (alone && splitSeconds_ >= worthWhile()) giveUp();
}

}  // namespace flexlink
