// SPDX-License-Identifier: Apache-2.0
// flexlinkPlan, the C door to the balancer: what it answers and what it refuses.
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "flexlink/flexlink.h"

namespace {

// Two paths of which the second is half as fast: a third of the bytes is its.
class Plan : public testing::Test {
 protected:
  Plan() {
    input.size = sizeof(input);
    input.collective = flexlinkPlanAllGather;
    input.ranks = 2;
    input.bytes = 6144;
    input.paths = paths.data();
    input.pathCount = paths.size();
    output.size = sizeof(output);
    output.shares = shares.data();
  }

  std::string refusal() {
    if (flexlinkPlan(&input, &output) != ncclInvalidArgument) return "not refused";
    return ncclGetLastError(nullptr);
  }

  std::vector<flexlinkPlanPath> paths{{1024, 0, 0, 1, flexlinkPlanRing},
                                      {512, 0, 0, 1, flexlinkPlanDirect}};
  std::vector<flexlinkPlanShare> shares{2};
  flexlinkPlanInput input{};
  flexlinkPlanOutput output{};
};

TEST_F(Plan, SharesTimesAndSlicesFollowFromTheRates) {
  ASSERT_EQ(flexlinkPlan(&input, &output), ncclSuccess);
  EXPECT_EQ(output.seconds, 2);  // each rank sends 3072 bytes
  EXPECT_EQ(output.secondsAlone, 3);
  EXPECT_EQ(output.busbw, 1536);
  EXPECT_EQ(output.busbwAlone, 1024);
  EXPECT_EQ(output.fullBusbw, 1536);
  EXPECT_EQ(output.aloneBelow, 0);
  EXPECT_EQ(shares[0].share, 2.0 / 3);
  EXPECT_EQ(shares[0].weight, 683u);
  EXPECT_EQ(shares[1].weight, 341u);
  EXPECT_EQ(shares[0].offset, 0u);
  EXPECT_EQ(shares[0].length, 2048u);  // of a block of 3072
  EXPECT_EQ(shares[1].offset, 2048u);
  EXPECT_EQ(shares[1].length, 1024u);
}

TEST_F(Plan, AllReduceSendsTwiceAndItsBlockIsTheWholeBuffer) {
  input.collective = flexlinkPlanAllReduce;
  ASSERT_EQ(flexlinkPlan(&input, &output), ncclSuccess);
  EXPECT_EQ(output.seconds, 4);
  EXPECT_EQ(output.busbw, 1536);
  EXPECT_EQ(shares[0].length + shares[1].length, 6144u);
}

TEST_F(Plan, AllPathsHaveCapsAlsoWhenTheyAreAlone) {
  double crossings[] = {1, 0};
  flexlinkPlanCap cap{256, crossings};
  input.caps = &cap;
  input.capCount = 1;
  ASSERT_EQ(flexlinkPlan(&input, &output), ncclSuccess);
  EXPECT_EQ(output.secondsAlone, 12);
  EXPECT_EQ(output.seconds, 4);
  EXPECT_EQ(output.fullBusbw, 768);
}

TEST_F(Plan, OnePathCarriesAllSizesAlone) {
  input.pathCount = 1;
  ASSERT_EQ(flexlinkPlan(&input, &output), ncclSuccess);
  EXPECT_EQ(shares[0].share, 1);
  EXPECT_EQ(output.seconds, output.secondsAlone);
  EXPECT_EQ(output.aloneBelow, std::numeric_limits<double>::infinity());
}

TEST_F(Plan, RefusesWhatIsMissing) {
  EXPECT_EQ(flexlinkPlan(nullptr, &output), ncclInvalidArgument);
  EXPECT_EQ(flexlinkPlan(&input, nullptr), ncclInvalidArgument);
  output.shares = nullptr;
  EXPECT_EQ(refusal(), "flexlinkPlan: shares, paths or caps is NULL");
  output.shares = shares.data();
  input.capCount = 1;
  EXPECT_EQ(refusal(), "flexlinkPlan: shares, paths or caps is NULL");
  flexlinkPlanCap cap{256, nullptr};
  input.caps = &cap;
  EXPECT_EQ(refusal(), "flexlinkPlan: cap 0: crossings is NULL");
  input.size = 8;
  EXPECT_EQ(refusal().substr(0, 29), "flexlinkPlan: sizes 8 and 64;");
}

TEST_F(Plan, RefusesNumbersThatAreOutOfRange) {
  input.ranks = 1;
  EXPECT_EQ(refusal(), "flexlinkPlan: 1 ranks, 6144 bytes; at least 2 ranks and 1 byte");
  input.ranks = 2;
  input.collective = 4;
  EXPECT_EQ(refusal(),
            "flexlinkPlan: collective 4; flexlinkPlanAllReduce (0) to flexlinkPlanAlltoAll (3)");
  input.collective = flexlinkPlanAlltoAll;
  paths[1].schedule = 2;
  EXPECT_EQ(refusal(),
            "flexlinkPlan: path 1: schedule 2; flexlinkPlanRing (0) or flexlinkPlanDirect (1)");
  paths[1].schedule = flexlinkPlanRing;
  paths[1].rate = 0;
  EXPECT_EQ(refusal(), "path 1: rate is 0 bytes/s; it must be positive");
  input.pathCount = 17;
  EXPECT_EQ(refusal(), "flexlinkPlan: 17 paths and 0 caps; 1 to 16 and 0 to 16");
}

}  // namespace
