// SPDX-License-Identifier: Apache-2.0
// Which links are worth using, and the sizes of chunks.
#include <gtest/gtest.h>

#include <vector>

#include "balance/link_choice.h"

namespace flexlink {
namespace {

constexpr double kMbit = 1e6 / 8;  // bytes/s

// As a bundle with links of these rates and one message sees it.
LinkOutlook outlookOf(const std::vector<double>& rates, size_t bytes) {
  LinkOutlook all;
  all.ready = bytes;
  for (double rate : rates) {
    all.rate += rate;
    all.fastest = std::max(all.fastest, rate);
  }
  all.nanos = static_cast<double>(bytes) / all.rate * 1e9;
  for (double rate : rates) all.links += isWorth(rate, all) ? 1 : 0;
  return all;
}

TEST(LinkChoice, AMuchSlowerLinkIsWorthItForMuchOnly) {
  const std::vector<double> rates{4000 * kMbit, 100 * kMbit};
  EXPECT_EQ(outlookOf(rates, 64 << 10).links, 1u);
  EXPECT_EQ(outlookOf(rates, 512 << 10).links, 1u);
  EXPECT_EQ(outlookOf(rates, 2 << 20).links, 1u);
  EXPECT_EQ(outlookOf(rates, 16 << 20).links, 2u);
}

TEST(LinkChoice, LinksThatAreNotTooUnlikeAllTakePart) {
  EXPECT_EQ(outlookOf({4000 * kMbit, 2000 * kMbit, 1000 * kMbit}, 512 << 10).links, 3u);
  EXPECT_EQ(outlookOf({4000 * kMbit, 500 * kMbit}, 2 << 20).links, 2u);
  EXPECT_EQ(outlookOf(std::vector<double>(4, 1000 * kMbit), 16 << 10).links, 4u);
}

TEST(LinkChoice, AChunkIsAsLargeAsItsLinkIsFast) {
  const LinkOutlook all = outlookOf({4000 * kMbit, 2000 * kMbit, 1000 * kMbit}, 700 << 10);
  EXPECT_EQ(chunkBytes(4000 * kMbit, 700 << 10, all), 200u << 10);
  EXPECT_EQ(chunkBytes(2000 * kMbit, 700 << 10, all), 100u << 10);
  EXPECT_EQ(chunkBytes(1000 * kMbit, 700 << 10, all), 48u << 10);
  EXPECT_EQ(chunkBytes(4000 * kMbit, 5000, all), 5000u);
  EXPECT_EQ(chunkBytes(1e9, 64 << 20, outlookOf({1e9, 1e9}, 64 << 20)), kLargestChunk);
}

TEST(LinkChoice, WhatIsSoonThroughIsNotCutUp) {
  const LinkOutlook fast = outlookOf({2e9, 2e9}, 100'000);
  EXPECT_EQ(chunkBytes(2e9, 100'000, fast), 100'000u);  // 25 us
  const LinkOutlook one = outlookOf({4000 * kMbit, 100 * kMbit}, 64 << 10);
  EXPECT_EQ(chunkBytes(4000 * kMbit, 64 << 10, one), 64u << 10);
  EXPECT_EQ(chunkBytes(100 * kMbit, 64 << 10, one), kSmallestChunk);  // a trial
}

}  // namespace
}  // namespace flexlink
