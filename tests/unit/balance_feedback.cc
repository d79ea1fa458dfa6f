// SPDX-License-Identifier: Apache-2.0
// Stage 2 on modelled links with noise: it arrives, it follows, it does not swing, it tries little.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "balance/feedback.h"
#include "balance/fit.h"

namespace flexlink {
namespace {

constexpr double kBytes = 64e6;

using Paths = std::vector<PathModel>;

PathModel path(double gigabytes, double latency = 0) { return {gigabytes * 1e9, latency}; }

// Operations on links that are what `real` says, each time off by up to `noise`.
class Machine {
 public:
  Machine(Paths believed, Paths real, double noise, unsigned seed)
      : feedback(believed, kBytes), real_(std::move(real)), noise_(noise), random_(seed) {}

  void become(Paths real) { real_ = std::move(real); }

  void run(int operations) {
    for (int i = 0; i < operations; ++i) {
      std::vector<double> bytes(real_.size()), seconds(real_.size());
      for (const Slice& slice : split(static_cast<uint64_t>(kBytes), feedback.weights(), 64)) {
        bytes[static_cast<size_t>(slice.lane)] = static_cast<double>(slice.length);
      }
      for (size_t k = 0; k < real_.size(); ++k) {
        double factor = std::uniform_real_distribution<double>(1 - noise_, 1 + noise_)(random_);
        seconds[k] = timeOf(real_[k], bytes[k]) * factor;
        total += bytes[k];
        if (feedback.trying() == static_cast<int>(k)) tried += bytes[k];
      }
      if (feedback.trying() >= 0) ++trials;
      Weights before = feedback.settled();
      feedback.observe(bytes, seconds);
      if (before != feedback.settled()) ++moves;
    }
  }

  // How much longer an operation takes without noise than with the best split: 1 is perfect.
  double overBest() const {
    double slowest = 0;
    for (size_t k = 0; k < real_.size(); ++k) {
      double bytes = kBytes * feedback.settled().parts[k] / kWholeWeight;
      slowest = std::max(slowest, timeOf(real_[k], bytes));
    }
    return slowest / fit(real_, {}, kBytes).value().seconds;
  }

  Feedback feedback;
  int moves = 0, trials = 0;  // operations
  double total = 0, tried = 0;

 private:
  Paths real_;
  double noise_;
  std::mt19937 random_;
};

class FeedbackWithNoise : public testing::TestWithParam<double> {};

TEST_P(FeedbackWithNoise, ArrivesWithinTwoPercentOfTheBest) {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    for (const Paths& real : {Paths{path(4), path(2), path(1)}, Paths{path(4), path(0.5)},
                              Paths{path(4, 1e-5), path(2, 5e-3)}}) {
      Machine machine(Paths(real.size(), path(1)), real, GetParam(), seed);
      machine.run(100);
      EXPECT_LE(machine.overBest(), 1.02) << seed;
    }
  }
}

TEST_P(FeedbackWithNoise, DoesNotSwingOnNoise) {
  Paths real{path(4), path(2), path(1)};
  for (unsigned seed = 1; seed <= 10; ++seed) {
    Machine machine(real, real, GetParam(), seed);
    machine.run(2000);
    EXPECT_LE(machine.moves, 20) << seed;  // of 2000
    EXPECT_LE(machine.overBest(), 1.03) << seed;
  }
}

TEST_P(FeedbackWithNoise, FollowsARateWithinTensOfOperations) {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    Machine machine({path(4), path(2)}, {path(4), path(2)}, GetParam(), seed);
    machine.run(200);
    machine.become({path(4), path(0.5)});
    machine.run(70);  // of these, four may be a trial
    EXPECT_LE(machine.overBest(), 1.03) << seed;
    machine.become({path(1), path(2)});
    machine.run(70);  // of these, four may be a trial
    EXPECT_LE(machine.overBest(), 1.03) << seed;
  }
}

TEST_P(FeedbackWithNoise, APathThatDoesNotHelpGoesToZeroAndComesBackWhenItDoes) {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    Machine machine({path(4), path(2)}, {path(4), path(2, 1)}, GetParam(), seed);
    machine.run(150);
    EXPECT_EQ(machine.feedback.settled().parts[1], 0) << seed;
    machine.become({path(4), path(2)});
    machine.run(600);
    EXPECT_LE(machine.overBest(), 1.05) << seed;
  }
}

TEST_P(FeedbackWithNoise, TrialsCostLessThanOnePercentOfTheBytes) {
  for (double slow : {1e-4, 0.01, 1.0}) {
    Machine machine({path(4), path(2)}, {path(4), path(slow, 0.1)}, GetParam(), 1);
    machine.run(300);
    machine.total = machine.tried = 0;
    machine.trials = 0;
    machine.run(20000);
    EXPECT_GT(machine.tried, 0);
    EXPECT_LE(machine.tried, machine.total / 1000);  // the promise is a hundredth
    EXPECT_LE(machine.trials, 100);                  // of 20000
  }
}

// Two lanes that are driven by one core: each looks as if it carried its share, and the operation
// takes a little longer than without the second one.
TEST_P(FeedbackWithNoise, LanesThatShareACoreAreNotUsedTogether) {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    std::mt19937 random(seed);
    Paths paths{path(6), path(0.006, 50e-6)};
    Feedback feedback(paths, kBytes, allOn(0, 2));
    int together = 0;
    for (int i = 0; i < 20000; ++i) {
      const Weights& weights = feedback.weights();
      double noise = std::uniform_real_distribution<double>(1 - GetParam(), 1 + GetParam())(random);
      bool both = weights.parts[0] != 0 && weights.parts[1] != 0;
      double all = kBytes / 6e9 * (both ? 1.02 : 1) * noise;
      std::vector<double> bytes, seconds;
      for (size_t k = 0; k < 2; ++k) {
        bytes.push_back(kBytes * weights.parts[k] / kWholeWeight);
        seconds.push_back(weights.parts[k] >= kWholeWeight / 8 ? all
                                                               : all * weights.parts[k] / 512);
      }
      feedback.observe(bytes, seconds);
      if (i >= 1000 && both) ++together;
    }
    EXPECT_LE(together, 19000 / 50) << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Noise, FeedbackWithNoise, testing::Values(0.0, 0.02, 0.05));

TEST(Feedback, BeginsWithWhatStageOneBelieves) {
  Paths paths{path(4), path(2), path(1)};
  Feedback feedback(paths, kBytes);
  EXPECT_EQ(feedback.weights().parts[0], 585);
  EXPECT_EQ(feedback.weights().parts[1], 293);
  EXPECT_EQ(feedback.weights().parts[2], 146);
}

TEST(Feedback, OneInterruptMovesNothing) {
  Paths paths{path(4), path(4)};
  Feedback feedback(paths, 8e9);
  double normal[] = {1, 1}, late[] = {1, 5}, bytes[] = {4e9, 4e9};
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(feedback.observe(bytes, normal));
  EXPECT_FALSE(feedback.observe(bytes, late));
  for (int i = 0; i < 40; ++i) EXPECT_FALSE(feedback.observe(bytes, normal));
}

TEST(Feedback, ALastingChangeMovesAfterTheFourthOperationAndNotBefore) {
  Paths paths{path(4), path(4)};
  Feedback feedback(paths, 8e9);
  double slower[] = {1, 2}, bytes[] = {4e9, 4e9};
  int quiet = 0;
  while (!feedback.observe(bytes, slower)) ++quiet;
  EXPECT_GE(quiet, 3);
  EXPECT_LE(quiet, 8);
  EXPECT_LT(feedback.weights().parts[1], 512);
}

TEST(Feedback, ATrialOfAPathThatWasSlowIsSmall) {
  // Seen last: a thousandth of the first path's rate. One part of 1024 is what it does in time.
  Paths paths{path(4), path(0.004, 1)};
  Feedback feedback(paths, kBytes);
  double bytes[] = {kBytes, 0}, seconds[] = {kBytes / 4e9, 0};
  for (uint32_t i = 1; i < Feedback::kShortestPause; ++i) {
    EXPECT_FALSE(feedback.observe(bytes, seconds));
  }
  EXPECT_TRUE(feedback.observe(bytes, seconds));
  EXPECT_EQ(feedback.trying(), 1);
  EXPECT_EQ(feedback.weights().parts[0], 1023);
  EXPECT_EQ(feedback.weights().parts[1], 1);
}

TEST(Feedback, ATimeBelowTheBelievedLatencyCorrectsTheLatency) {
  Paths paths{path(4), path(4, 1)};
  Feedback feedback(paths, 8e9);
  double bytes[] = {4e9, 4e9}, seconds[] = {1, 1};
  // Fewer than there are before the first trial of one path alone.
  for (int i = 0; i < 60; ++i) feedback.observe(bytes, seconds);
  EXPECT_EQ(feedback.settled().parts[0], feedback.settled().parts[1]);
}

}  // namespace
}  // namespace flexlink
