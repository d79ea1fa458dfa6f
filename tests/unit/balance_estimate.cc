// SPDX-License-Identifier: Apache-2.0
// What a call is expected to take, from rates and latencies that the test makes up.
#include <gtest/gtest.h>

#include <vector>

#include "balance/estimate.h"

namespace flexlink {
namespace {

constexpr Collective kAll[] = {
    Collective::kAllReduce, Collective::kBroadcast,     Collective::kReduce,
    Collective::kAllGather, Collective::kReduceScatter, Collective::kAlltoAll,
    Collective::kGather,    Collective::kScatter,       Collective::kSend,
    Collective::kRecv,      Collective::kPutSignal,     Collective::kSignal,
    Collective::kWaitSignal};

// Copies at 1 GB/s and meets in 1 µs; 0.1 GB/s and 100 µs to other hosts.
constexpr EstimatePaths kPaths{{1e9, 1e-6}, {1e8, 1e-4}};

double seconds(Collective kind, double bytes, EstimateRanks ranks, bool away = false) {
  return estimateSeconds({kind, bytes, away}, ranks, kPaths);
}

bool carriesBytes(Collective kind) {
  return kind != Collective::kSignal && kind != Collective::kWaitSignal;
}

TEST(Estimate, GrowsWithTheBytesOfEveryCallThatHasSome) {
  for (EstimateRanks ranks : {EstimateRanks{1, 1, 1}, EstimateRanks{4, 4, 1},
                              EstimateRanks{4, 1, 4}, EstimateRanks{8, 2, 4}}) {
    for (Collective kind : kAll) {
      double before = seconds(kind, 0, ranks);
      EXPECT_GT(before, 0);
      for (double bytes = 1; bytes < 1e12; bytes *= 8) {
        double now = seconds(kind, bytes, ranks);
        if (carriesBytes(kind)) EXPECT_GT(now, before) << static_cast<int>(kind);
        before = now;
      }
    }
  }
}

TEST(Estimate, OnOneHostBytesAreCopiedAtTheRateOfMemoryAndTheWireCountsNot) {
  // 1 GB: put, folded and taken.
  EXPECT_NEAR(seconds(Collective::kAllReduce, 1e9, {2, 2, 1}), 3, 1e-5);
  EXPECT_NEAR(seconds(Collective::kAllReduce, 1e9, {8, 8, 1}), 3, 1e-5);
  EXPECT_NEAR(seconds(Collective::kAllReduce, 1e9, {1, 1, 1}), 1, 1e-5);
  EXPECT_NEAR(seconds(Collective::kAllGather, 1e9, {4, 4, 1}), 5, 1e-5);
  EXPECT_NEAR(seconds(Collective::kReduceScatter, 1e9, {4, 4, 1}), 8, 1e-5);
  EXPECT_NEAR(seconds(Collective::kSend, 1e9, {4, 4, 1}), 1, 1e-5);
}

TEST(Estimate, ACallWithoutBytesTakesItsMeetingsAndHops) {
  EXPECT_NEAR(seconds(Collective::kAllReduce, 0, {2, 2, 1}), 2e-6 + 2e-7, 1e-9);
  EXPECT_NEAR(seconds(Collective::kAllReduce, 0, {4, 2, 2}), 2e-6 + 2e-4 + 2e-7, 1e-9);
  EXPECT_NEAR(seconds(Collective::kBroadcast, 0, {8, 1, 8}), 3e-4 + 2e-7, 1e-9);
  EXPECT_NEAR(seconds(Collective::kSignal, 0, {4, 2, 2}, true), 1e-4 + 2e-7, 1e-9);
}

TEST(Estimate, RanksOfAHostShareWhatGoesBetweenHosts) {
  double alone = seconds(Collective::kAllReduce, 1e9, {2, 1, 2}) - 1;
  double shared = seconds(Collective::kAllReduce, 1e9, {8, 4, 2}) - 3;
  EXPECT_NEAR(alone, 10, 1e-3);
  EXPECT_NEAR(shared, 2.5, 1e-3);
}

TEST(Estimate, APeerOnAnotherHostIsReachedOverTheWire) {
  EXPECT_NEAR(seconds(Collective::kSend, 1e9, {4, 2, 2}, false), 1, 1e-3);
  EXPECT_NEAR(seconds(Collective::kSend, 1e9, {4, 2, 2}, true), 11, 1e-3);
}

}  // namespace
}  // namespace flexlink
