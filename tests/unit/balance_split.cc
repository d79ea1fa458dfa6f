// SPDX-License-Identifier: Apache-2.0
// Weights and slices: integers that every rank computes alike.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "balance/weights.h"

namespace flexlink {
namespace {

Weights of(std::vector<double> amounts) { return weightsOf(amounts); }

std::vector<int> partsOf(const Weights& weights) {
  return {weights.parts.begin(), weights.parts.begin() + weights.lanes};
}

std::vector<Slice> slicesOf(const Split& split) { return {split.begin(), split.end()}; }

TEST(Weights, RoundToAWholeOf1024) {
  EXPECT_EQ(partsOf(of({4, 2, 1})), (std::vector{585, 293, 146}));
  EXPECT_EQ(partsOf(of({1, 1, 1})), (std::vector{342, 341, 341}));
  EXPECT_EQ(partsOf(of({0, 5, 0})), (std::vector{0, 1024, 0}));
  EXPECT_EQ(partsOf(of({1e9, 1})), (std::vector{1024, 0}));
  EXPECT_EQ(of({1, 3, 2}).fastest, 1);
}

TEST(Weights, AlwaysSumToTheWhole) {
  std::mt19937 random(2);
  std::uniform_real_distribution<double> any(0, 1);
  for (int round = 0; round < 1000; ++round) {
    std::vector<double> amounts(1 + random() % kMostLanes);
    for (double& amount : amounts) amount = random() % 3 == 0 ? 0 : any(random);
    amounts[0] += 1e-3;
    int sum = 0;
    Weights weights = weightsOf(amounts);
    for (size_t i = 0; i < amounts.size(); ++i) {
      sum += weights.parts[i];
      if (amounts[i] == 0) {
        EXPECT_EQ(weights.parts[i], 0);
      }
    }
    EXPECT_EQ(sum, 1024);
  }
}

TEST(Split, CutsAtWholeUnitsInTheOrderOfTheLanes) {
  EXPECT_EQ(slicesOf(split(6400, of({2, 1, 1}), 64)),
            (std::vector<Slice>{{0, 0, 3200}, {1, 3200, 1600}, {2, 4800, 1600}}));
}

TEST(Split, WhatIsLeftOverIsAtTheEndOfTheLast) {
  EXPECT_EQ(slicesOf(split(130, of({1, 1}), 64)), (std::vector<Slice>{{0, 0, 64}, {1, 64, 66}}));
}

TEST(Split, AWeightOfZeroGivesNoSlice) {
  EXPECT_EQ(slicesOf(split(640, of({0, 1, 0, 1}), 64)),
            (std::vector<Slice>{{1, 0, 320}, {3, 320, 320}}));
  EXPECT_EQ(slicesOf(split(100, allOn(2, 3), 64)), (std::vector<Slice>{{2, 0, 100}}));
}

TEST(Split, BelowTheThresholdTheFastestCarriesAll) {
  Weights weights = of({1, 3});
  weights.wholeBelow = 4096;
  EXPECT_EQ(slicesOf(split(4095, weights, 64)), (std::vector<Slice>{{1, 0, 4095}}));
  EXPECT_EQ(split(4096, weights, 64).count, 2);
}

TEST(Split, LessThanOneUnitGoesToTheFastest) {
  EXPECT_EQ(slicesOf(split(63, of({1, 3}), 64)), (std::vector<Slice>{{1, 0, 63}}));
  EXPECT_EQ(split(0, of({1, 3}), 64).count, 0);
}

TEST(Split, UnitsAreWholeElementsAndWholeCacheLines) {
  EXPECT_EQ(granularityOf(1), 64u);
  EXPECT_EQ(granularityOf(8), 64u);
  EXPECT_EQ(granularityOf(24), 192u);
}

TEST(Split, CoversEveryByteOnceForAnyWeightsAndSize) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 5000; ++round) {
    std::vector<double> amounts(1 + random() % 5);
    for (double& amount : amounts) amount = static_cast<double>(random() % 100);
    amounts[0] += 1;
    Weights weights = weightsOf(amounts);
    uint64_t bytes = random() >> random() % 64;
    uint64_t unit = granularityOf(1 + random() % 16);
    uint64_t at = 0;
    int lane = -1;
    for (const Slice& slice : split(bytes, weights, unit)) {
      EXPECT_EQ(slice.offset, at);
      EXPECT_EQ(slice.offset % unit, 0u);
      EXPECT_GT(slice.length, 0u);
      EXPECT_GT(slice.lane, lane);
      EXPECT_GT(weights.parts[static_cast<size_t>(slice.lane)], 0);
      lane = slice.lane;
      at += slice.length;
    }
    EXPECT_EQ(at, bytes);
  }
}

}  // namespace
}  // namespace flexlink
