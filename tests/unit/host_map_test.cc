// SPDX-License-Identifier: Apache-2.0
#include "lane/hier/host_map.h"

#include <gtest/gtest.h>

namespace flexlink {
namespace {

using Hashes = std::vector<uint64_t>;

std::vector<int> hostsOf(const Hashes& hashes) { return makeHostMap(0, hashes).hostOf; }

TEST(HostMap, RanksThatShareMemoryStayTogether) {
  EXPECT_EQ(setApart({7, 9, 7}, {}), (Hashes{7, 9, 7}));
}

TEST(HostMap, ContainersBecomeHosts) {
  // Two containers with ranks 0 and 2, 1 and 3 on one machine, rank 4 on another.
  Hashes apart = setApart({7, 7, 7, 7, 9}, {{0, 1}, {0, 3}, {2, 1}, {2, 3}});
  EXPECT_EQ(hostsOf(apart), (std::vector<int>{0, 1, 0, 1, 2}));
  EXPECT_EQ(apart[0], 7u);
}

TEST(HostMap, ADenialOfEitherSideIsEnough) {
  EXPECT_EQ(hostsOf(setApart({7, 7}, {{0, 1}})), (std::vector<int>{0, 1}));
  EXPECT_EQ(hostsOf(setApart({7, 7}, {{1, 0}})), (std::vector<int>{0, 1}));
}

TEST(HostMap, ARankThatReachesNobodyIsAlone) {
  EXPECT_EQ(hostsOf(setApart({7, 7, 7}, {{1, 0}, {1, 2}})), (std::vector<int>{0, 1, 0}));
}

TEST(HostMap, DenialsBetweenHostsMeanNothing) {
  EXPECT_EQ(setApart({7, 9}, {{0, 1}}), (Hashes{7, 9}));
}

}  // namespace
}  // namespace flexlink
