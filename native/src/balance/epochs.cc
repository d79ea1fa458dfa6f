// SPDX-License-Identifier: Apache-2.0
#include "balance/epochs.h"

#include <algorithm>

namespace flexlink {
namespace {

// Operations ahead: so many that no rank has begun the first of them when it is asked.
constexpr uint32_t kLeastAhead = 2;
constexpr uint32_t kMostAhead = 4096;
// s. What a lane of which nothing is known might need to begin; corrected by its first trial.
constexpr double kGuessedLatency = 50e-6;
// A lane of which nothing is known is taken for so much slower than lane 0.
constexpr double kGuessedPart = 1.0 / 1024;
// Smaller blocks stay whole, on lane 0: a second lane would only add its own latency.
constexpr uint64_t kLeastCutBytes = 256 << 10;

Weights cutFrom(Weights weights) {
  weights.wholeBelow = kLeastCutBytes;
  weights.fastest = 0;
  return weights;
}

}  // namespace

Epochs::Epochs(int rank, int lanes, std::optional<Weights> fixed)
    : rank_(rank),
      lanes_(lanes),
      fixed_(fixed.has_value()),
      first_(fixed ? *fixed : cutFrom(allOn(0, lanes))) {}

void Epochs::ask(const Weights& weights) {
  if (rank_ != 0) return;
  wish_ = weights;
  proposal_ = WeightProposal{weights, kEveryClass, ahead_};
}

const Weights& Epochs::weightsOf(uint16_t operationClass) const {
  auto found = weights_.find(operationClass);
  return found == weights_.end() ? first_ : found->second;
}

const Weights* Epochs::begin(uint16_t operationClass) {
  if (!agreed_.empty() && agreed_.front().first == begun_) {
    const WeightProposal& what = agreed_.front().what;
    if (what.operationClass == kEveryClass) {
      first_ = what.weights;
      weights_.clear();
    } else {
      weights_[what.operationClass] = what.weights;
    }
    agreed_.pop_front();
    ++epoch_;
  }
  if (pledged_ && pledged_->first == begun_) return nullptr;
  ++begun_;
  return &weightsOf(operationClass);
}

void Epochs::measured(uint16_t operationClass, uint32_t epoch, std::span<const double> bytes,
                      std::span<const double> seconds) {
  if (fixed_ || sizeOf(operationClass) < kLeastCutBytes) return;
  LaneSample& sample = samples_[operationClass];
  if (sample.epoch != epoch || sample.operations == UINT16_MAX) sample = {};
  sample.operationClass = operationClass;
  sample.epoch = epoch;
  ++sample.operations;
  for (size_t lane = 0; lane < bytes.size(); ++lane) {
    sample.bytes[lane] += bytes[lane];
    sample.seconds[lane] += seconds[lane];
  }
}

EpochReport Epochs::report() {
  EpochReport report;
  report.begun = begun_;
  for (const auto& [key, sample] : samples_) report.samples.push_back(sample);
  samples_.clear();
  report.proposal = proposal_;
  proposal_.reset();
  again_ = false;
  return report;
}

std::optional<bool> Epochs::heard(const std::vector<EpochReport>& reports) {
  if (rank_ == 0) {
    for (const LaneSample& sample : reports[0].samples) learn(reports, sample.operationClass);
  }
  if (!reports[0].proposal) {
    if (rank_ == 0) propose();
    return {};
  }
  asked_ = reports[0].proposal->operationClass == kEveryClass;
  uint64_t first = 0;
  for (const EpochReport& report : reports) first = std::max(first, report.begun);
  first += reports[0].proposal->ahead;
  bool inTime = begun_ <= first;
  if (inTime) pledged_ = Change{first, *reports[0].proposal};
  return inTime;
}

void Epochs::decided(const std::vector<bool>& votes) {
  bool all = std::find(votes.begin(), votes.end(), false) == votes.end();
  if (all && pledged_) agreed_.push_back(*pledged_);
  pledged_.reset();
  ahead_ = all ? std::max(ahead_ / 2, kLeastAhead) : std::min(ahead_ * 2, kMostAhead);
  if (all || !asked_) return;
  again_ = true;
  if (wish_) proposal_ = WeightProposal{*wish_, kEveryClass, ahead_};
}

// An operation is over when the last rank is through with its slowest lane.
void Epochs::learn(const std::vector<EpochReport>& reports, uint16_t operationClass) {
  std::array<double, kMostLanes> bytes{};
  std::array<double, kMostLanes> seconds{};
  for (const EpochReport& report : reports) {
    auto found = std::find_if(report.samples.begin(), report.samples.end(), [&](const auto& each) {
      return each.operationClass == operationClass && each.epoch == epoch_;
    });
    if (found == report.samples.end() || found->operations == 0) return;
    for (size_t lane = 0; lane < static_cast<size_t>(lanes_); ++lane) {
      bytes[lane] = found->bytes[lane] / found->operations;
      seconds[lane] = std::max(seconds[lane], found->seconds[lane] / found->operations);
    }
  }
  auto place = feedback_.find(operationClass);
  if (place == feedback_.end()) {
    if (bytes[0] <= 0 || seconds[0] <= 0) return;
    PathModel model;
    model.rate = bytes[0] / seconds[0];
    std::vector<PathModel> models(static_cast<size_t>(lanes_), model);
    for (size_t lane = 1; lane < models.size(); ++lane) {
      models[lane].rate *= kGuessedPart;
      models[lane].latency = kGuessedLatency;
    }
    double whole = 0;
    for (double each : bytes) whole += each;
    place = feedback_.emplace(operationClass, Feedback(models, whole, allOn(0, lanes_))).first;
  }
  // What was measured by other weights than it asks for tells it nothing about them.
  if (weightsOf(operationClass).parts != place->second.weights().parts) return;
  (void)place->second.observe({bytes.data(), static_cast<size_t>(lanes_)},
                              {seconds.data(), static_cast<size_t>(lanes_)});
}

void Epochs::propose() {
  if (pledged_ || !agreed_.empty()) return;
  for (const auto& [key, feedback] : feedback_) {
    if (feedback.weights().parts == weightsOf(key).parts) continue;
    proposal_ = WeightProposal{cutFrom(feedback.weights()), key, ahead_};
    return;
  }
}

}  // namespace flexlink
