// SPDX-License-Identifier: Apache-2.0
// The model of one link against a simulated link: a queue with a rate and a latency.
#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "balance/link_model.h"

namespace flexlink {
namespace {

constexpr uint64_t kChunk = 1 << 18;

// Times are nanoseconds; a chunk is served after those before it and acknowledged `latency` later.
class SimulatedLink {
 public:
  SimulatedLink(double bytesPerSecond, int64_t latency) : rate(bytesPerSecond), latency(latency) {}

  // Keeps up to `depth` chunks in flight until `chunks` have been acknowledged.
  void run(LinkModel* model, int chunks, size_t depth, double noise = 0) {
    std::uniform_real_distribution<double> any(1 - noise, 1 + noise);
    for (int done = 0; done < chunks;) {
      while (inFlight_.size() < depth) {
        free_ = std::max(free_, now_);
        free_ += static_cast<int64_t>(kChunk * 1e9 / rate * any(random_));
        inFlight_.push_back({now_, free_ + latency, inFlight_.size() * kChunk});
      }
      Chunk first = inFlight_.front();
      inFlight_.pop_front();
      now_ = std::max(now_, first.acked);
      model->observe(first.sent, now_, kChunk, first.queued);
      ++done;
    }
  }

  double rate;
  int64_t latency;

 private:
  struct Chunk {
    int64_t sent, acked;
    uint64_t queued;
  };
  std::deque<Chunk> inFlight_;
  int64_t now_ = 0, free_ = 0;
  std::mt19937 random_{1};
};

TEST(LinkModel, PredictsByQueueRateAndLatency) {
  LinkModel model(1e9, 5000);
  EXPECT_EQ(model.predictedFinish(100, 2000, 1000), 100 + 5000 + 3000);
  EXPECT_EQ(model.inFlightLimit(), 10000u);
}

TEST(LinkModel, KeepsAKnownLinkBusyAlsoWhileItsThreadHasNoCore) {
  LinkModel model(1e9, 5000);
  int64_t now = 0;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(model.inFlightLimit(), i < 16 ? 10'000u : 1'500'000u) << i;
    now += 100'000;
    model.observe(now - 100'000, now, 100'000, 1000);
  }
}

TEST(LinkModel, SmallFramesTakeWhatSmallFramesUsuallyTake) {
  LinkModel model(1e9, 5000);
  EXPECT_EQ(model.predictedAnswer(0, 0, 1000), 5000 + 1000);
  model.observe(0, 600'000, 1000, 0);
  EXPECT_EQ(model.predictedAnswer(0, 0, 1000), 64'500 + 1000);
  model.observe(0, 40'000, 1000, 0);
  EXPECT_EQ(model.predictedAnswer(0, 0, 1000), 40'000 + 1000);
  model.observe(0, 140'000, 1000, 0);
  EXPECT_EQ(model.predictedAnswer(0, 0, 1000), 50'000 + 1000);
  model.observe(0, 30'000'000'000, 1000, 0);  // the peer was away
  EXPECT_EQ(model.predictedAnswer(0, 0, 1000), 245'500 + 1000);
  EXPECT_EQ(model.predictedFinish(0, 0, 1000), 5000 + 1000);
}

TEST(LinkModel, FindsTheRateOfABusyLink) {
  for (double rate : {1e8, 1e9, 2e10}) {
    LinkModel model(1e9, 20000);
    SimulatedLink link(rate, 50000);
    link.run(&model, 200, 16);
    EXPECT_NEAR(model.bytesPerSecond() / rate, 1, 0.01) << rate;
  }
}

TEST(LinkModel, PredictsWhatThenHappens) {
  LinkModel model(1e9, 20000);
  SimulatedLink link(3e9, 100000);
  link.run(&model, 200, 16);
  link.run(&model, 200, 1);
  double one = static_cast<double>(kChunk) / 3;  // ns
  EXPECT_NEAR(static_cast<double>(model.predictedFinish(0, 0, kChunk)) / (one + 100000), 1, 0.01);
  auto sixteen = static_cast<double>(model.predictedFinish(0, 15 * kChunk, kChunk));
  EXPECT_GE(sixteen, 16 * one * 0.999);
  EXPECT_LE(sixteen, 16 * one * 1.001 + 100000);
}

TEST(LinkModel, ALinkWithOneChunkAtATimeIsPredictedToo) {
  LinkModel model(1e9, 20000);
  SimulatedLink link(3e9, 100000);
  link.run(&model, 300, 1);
  auto expected = static_cast<double>(kChunk) / 3e9 * 1e9 + 100000;
  EXPECT_NEAR(static_cast<double>(model.predictedFinish(0, 0, kChunk)) / expected, 1, 0.02);
}

TEST(LinkModel, FollowsARateWithinTensOfChunks) {
  LinkModel model(1e9, 20000);
  SimulatedLink link(4e9, 50000);
  link.run(&model, 200, 8);
  link.rate = 1e9;
  link.run(&model, 60, 8);
  EXPECT_NEAR(model.bytesPerSecond() / 1e9, 1, 0.05);
  link.rate = 4e9;
  link.run(&model, 60, 8);
  EXPECT_NEAR(model.bytesPerSecond() / 4e9, 1, 0.05);
}

TEST(LinkModel, NoiseAveragesOut) {
  LinkModel model(1e9, 20000);
  SimulatedLink link(2e9, 50000);
  link.run(&model, 500, 8, 0.3);
  EXPECT_NEAR(model.bytesPerSecond() / 2e9, 1, 0.15);
}

TEST(LinkModel, LatencyIsTheSmallestThatWasSeenAndRisesWhenItIsNotSeenAgain) {
  LinkModel model(1e9, 1000000);
  auto lone = [&](int64_t at, int64_t nanos) { model.observe(at, at + nanos, 1000, 0); };
  lone(0, 31000);
  for (int i = 1; i <= 128; ++i) {
    lone(i * 1000000, 201000);
    EXPECT_EQ(model.latency(), i < 128 ? 30000 : 200000) << i;
  }
  lone(200000000, 6000);
  lone(201000000, 6000);
  EXPECT_EQ(model.latency(), 5000);
  EXPECT_EQ(model.bytesPerSecond(), 1e9);
}

// A thread that gets a core every 4 ms finds all that it had sent acknowledged: as fast as it kept
// the link busy, and no news of the link.
TEST(LinkModel, ALinkThatRanDryIsHardlyBelievedToBeSlow) {
  LinkModel model(1e9, 20000);
  SimulatedLink link(4e9, 50000);
  link.run(&model, 200, 8);
  int64_t now = 1'000'000'000;
  for (int i = 0; i < 10; ++i) {
    model.observe(now, now + 4'000'000, 8 * kChunk, 1, true);
    now += 4'000'000;
  }
  EXPECT_GT(model.bytesPerSecond(), 1.5e9);
  model.observe(now, now + 100'000, 8 * kChunk, 1, true);  // faster counts in full
  for (int i = 0; i < 60; ++i) {
    model.observe(now, now + 400'000, 8 * kChunk, 1, true);
    now += 400'000;
  }
  EXPECT_GT(model.bytesPerSecond(), 4e9);
}

// Credits are answered when the peer looks, be the link as fast as it may.
TEST(LinkModel, SmallFramesSayNothingOfTheRate) {
  LinkModel model(1e9, 20000);
  SimulatedLink link(4e9, 50000);
  link.run(&model, 200, 8);
  double before = model.bytesPerSecond();
  for (int64_t now = 1'000'000'000; now < 2'000'000'000; now += 10'000'000) {
    model.observe(now, now + 3'000'000, 64, 0);
    model.observe(now, now + 3'000'000, 640, 64, true);
  }
  EXPECT_EQ(model.bytesPerSecond(), before);
}

TEST(LinkModel, AcknowledgementsThatArriveTogetherAreNoInfiniteRate) {
  LinkModel model(1e9, 10000);
  int64_t now = 0;
  for (int burst = 0; burst < 50; ++burst) {
    for (uint64_t i = 0; i < 4; ++i) model.observe(now, now + 410000, 100000, i * 100000);
    now += 410000;
  }
  EXPECT_GT(model.bytesPerSecond(), 0.7e9);
  EXPECT_LT(model.bytesPerSecond(), 1.4e9);
}

}  // namespace
}  // namespace flexlink
