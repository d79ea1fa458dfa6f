// SPDX-License-Identifier: Apache-2.0
// Stage 1 on modelled paths: exact shares, latencies, staging buffers, caps. Nothing is measured.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "balance/fit.h"

namespace flexlink {
namespace {

using Bytes = std::vector<double>;

PathModel path(double rate, double latency = 0) { return {rate, latency}; }

Fit fitted(const std::vector<PathModel>& paths, double bytes, const std::vector<Cap>& caps = {}) {
  Result<Fit> result = fit(paths, caps, bytes);
  EXPECT_TRUE(result.ok()) << result.status().text();
  return result.ok() ? result.value() : Fit{};
}

TEST(PathModel, ABufferBetweenTwoStagesCostsOneChunkForEachStep) {
  PathModel staged{100, 1, 50, 2, 3};
  EXPECT_EQ(timeOf(staged, 0), 0);
  EXPECT_EQ(timeOf(staged, 100), 6 + 2.0);    // messages shorter than a chunk go twice
  EXPECT_EQ(timeOf(staged, 150), 6 + 3.0);    // three messages of one chunk
  EXPECT_EQ(timeOf(staged, 1150), 6 + 13.0);  // 1150 bytes and three chunks
  for (double bytes : {100.0, 150.0, 1150.0}) {
    EXPECT_EQ(bytesWithin(staged, timeOf(staged, bytes)), bytes);
  }
  EXPECT_EQ(bytesWithin(staged, 5), 0);
}

TEST(PathModel, CollectivesSendAndStepAsTheirAlgorithmsSay) {
  EXPECT_EQ(sentPerByte(Collective::kAllReduce, 8), 1.75);
  EXPECT_EQ(sentPerByte(Collective::kAllGather, 8), 0.875);
  EXPECT_EQ(sentPerByte(Collective::kReduceScatter, 2), 0.5);
  EXPECT_EQ(stepsOf(Collective::kAllReduce, StepRule::kRing, 8), 14);
  EXPECT_EQ(stepsOf(Collective::kAllReduce, StepRule::kDirect, 8), 2);
  EXPECT_EQ(stepsOf(Collective::kAllGather, StepRule::kRing, 8), 7);
  EXPECT_EQ(stepsOf(Collective::kAlltoAll, StepRule::kRing, 8), 1);
  EXPECT_FALSE(hasCost(Collective::kBroadcast));
}

TEST(Fit, SharesFollowTheRatesWhereNothingIsLate) {
  Fit found = fitted({path(4), path(2), path(1)}, 70);
  EXPECT_EQ(found.seconds, 10);
  EXPECT_EQ(found.bytes, (Bytes{40, 20, 10}));
}

TEST(Fit, AllUsedPathsFinishTogetherAndALatePathCarriesNothing) {
  Fit found = fitted({path(4), path(2, 2), path(100, 12)}, 56);
  EXPECT_EQ(found.seconds, 10);
  EXPECT_EQ(found.bytes, (Bytes{40, 16, 0}));
}

TEST(Fit, ASmallOperationStaysOnThePathThatAnswersFirst) {
  std::vector<PathModel> paths{path(4), path(2, 2)};
  EXPECT_EQ(aloneBelow(paths), 8);
  EXPECT_EQ(fitted(paths, 8).bytes, (Bytes{8, 0}));
  EXPECT_EQ(fitted(paths, 14).bytes, (Bytes{12, 2}));
  EXPECT_EQ(aloneBelow({paths.data(), 1}), std::numeric_limits<double>::infinity());
}

TEST(Fit, AStagedPathIsSlowUntilItsMessagesOutgrowTheBuffer) {
  PathModel staged{4, 0, 10, 2, 1};
  EXPECT_EQ(fitted({path(4), staged}, 18).bytes, (Bytes{12, 6}));
  EXPECT_EQ(fitted({path(4), staged}, 70).bytes, (Bytes{40, 30}));
}

TEST(Fit, ASharedUplinkBoundsTheSumAndTheEarlierPathIsFilledFirst) {
  Cap uplink{3, {0, 1, 1}};
  Fit found = fitted({path(4), path(2), path(2)}, 70, {uplink});
  EXPECT_EQ(found.seconds, 10);
  EXPECT_EQ(found.bytes, (Bytes{40, 20, 10}));
}

TEST(Fit, ACapThatIsNeverReachedChangesNothing) {
  EXPECT_EQ(fitted({path(4), path(2), path(1)}, 70, {Cap{3, {0, 1, 1}}}).bytes,
            (Bytes{40, 20, 10}));
}

TEST(Fit, BytesThatCrossTwiceCountTwice) {
  Cap memory{4, {0, 2}};
  EXPECT_EQ(fitted({path(4), path(4)}, 60, {memory}).bytes, (Bytes{40, 20}));
}

TEST(Fit, CapsThatOverlapAreSolvedTogether) {
  // The middle path is in both caps: leaving it empty lets the two others run in full.
  std::vector<Cap> caps{{4, {1, 1, 0}}, {4, {0, 1, 1}}};
  Fit found = fitted({path(4), path(4), path(4)}, 80, caps);
  EXPECT_EQ(found.seconds, 10);
  EXPECT_EQ(found.bytes, (Bytes{40, 0, 40}));
  EXPECT_EQ(fullRate(std::vector{path(4), path(4), path(4)}, caps).value(), 8);
}

TEST(Fit, NoOtherSplitIsFasterAndNoCapIsBroken) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> any(0, 1);
  for (int round = 0; round < 200; ++round) {
    std::vector<PathModel> paths;
    for (int i = 0; i < 4; ++i) {
      paths.push_back({1 + 9 * any(random), any(random), 20 * any(random), 1 + i % 2, 1 + i % 3});
    }
    std::vector<Cap> caps{{2 + 4 * any(random), {0, 1, 1, 0}}, {2 + 4 * any(random), {0, 0, 2, 1}}};
    double bytes = 1 + 200 * any(random);
    Fit found = fitted(paths, bytes, caps);
    double sum = 0;
    for (size_t i = 0; i < paths.size(); ++i) {
      sum += found.bytes[i];
      EXPECT_GE(found.bytes[i], 0);
      EXPECT_LE(timeOf(paths[i], found.bytes[i]), found.seconds * (1 + 1e-9)) << round;
      // Never slower than any path alone.
      double alone = timeOf(paths[i], bytes);
      for (const Cap& cap : caps) alone = std::max(alone, cap.crossings[i] * bytes / cap.rate);
      EXPECT_LE(found.seconds, alone * (1 + 1e-9)) << round;
    }
    EXPECT_DOUBLE_EQ(sum, bytes);
    for (const Cap& cap : caps) {
      double crossing = 0;
      for (size_t i = 0; i < paths.size(); ++i) crossing += cap.crossings[i] * found.bytes[i];
      EXPECT_LE(crossing, cap.rate * found.seconds * (1 + 1e-9)) << round;
    }
    // Random moves of bytes between two paths never end earlier within the caps.
    for (int trial = 0; trial < 20; ++trial) {
      Bytes other = found.bytes;
      size_t from = random() % 4, to = random() % 4;
      double moved = other[from] * any(random);
      other[from] -= moved;
      other[to] += moved;
      double end = 0;
      for (size_t i = 0; i < 4; ++i) end = std::max(end, timeOf(paths[i], other[i]));
      for (const Cap& cap : caps) {
        double crossing = 0;
        for (size_t i = 0; i < 4; ++i) crossing += cap.crossings[i] * other[i];
        end = std::max(end, crossing / cap.rate);
      }
      EXPECT_GE(end, found.seconds * (1 - 1e-9)) << round;
    }
  }
}

TEST(Fit, TheSameNumbersGiveTheSameBits) {
  std::vector<PathModel> paths{path(200e9, 1e-6), {64e9, 1e-5, 4e6, 2, 14}, path(50e9, 2e-5)};
  std::vector<Cap> caps{{64e9, {0, 1, 1}}, {37.5e9, {0, 1, 0}}};
  Fit first = fitted(paths, 448e6, caps), second = fitted(paths, 448e6, caps);
  EXPECT_EQ(first.seconds, second.seconds);
  EXPECT_EQ(first.bytes, second.bytes);
}

TEST(Fit, NumbersThatAreNoneAreRefusedByName) {
  auto said = [](const std::vector<PathModel>& paths, const std::vector<Cap>& caps, double bytes) {
    Result<Fit> result = fit(paths, caps, bytes);
    return result.ok() ? std::string("ok") : std::string(result.status().text());
  };
  EXPECT_EQ(said({path(1), path(0)}, {}, 1), "path 1: rate is 0 bytes/s; it must be positive");
  EXPECT_EQ(said({path(1, -1)}, {}, 1),
            "path 0: latency is -1 s, chunk is 0 bytes; neither may be negative");
  EXPECT_EQ(said({{1, 0, 0, 0, 1}}, {}, 1), "path 0: 0 stages, 1 steps; at least 1 of each");
  EXPECT_EQ(said({path(1)}, {Cap{1, {}}}, 1),
            "cap 0: crossings must be 1 numbers that are not negative");
  EXPECT_EQ(said({path(1)}, {Cap{-2, {1}}}, 1), "cap 0: rate is -2 bytes/s; it must be positive");
  EXPECT_EQ(said({}, {}, 1), "0 paths and 0 caps: 1 to 16 and 0 to 16");
  EXPECT_EQ(said({path(1)}, {}, -1), "-1 bytes to share out");
  EXPECT_EQ(said({path(1e-300)}, {}, 1e19), "1e+19 bytes take longer than any number can say");
  EXPECT_EQ(said({path(1)}, {Cap{1e-300, {1}}}, 1e19),
            "1e+19 bytes take longer than any number can say");
  EXPECT_EQ(said({path(std::nan(""))}, {}, 1), "path 0: rate is nan bytes/s; it must be positive");
}

TEST(Fit, NothingToCarryTakesNoTime) {
  Fit found = fitted({path(1, 5), path(1)}, 0);
  EXPECT_EQ(found.seconds, 0);
  EXPECT_EQ(found.bytes, (Bytes{0, 0}));
}

}  // namespace
}  // namespace flexlink
