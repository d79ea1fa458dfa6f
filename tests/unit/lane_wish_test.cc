// SPDX-License-Identifier: Apache-2.0
#include "comm/lane_wish.h"

#include <gtest/gtest.h>

#include <string>

#include "comm/epoch_meeting.h"

namespace flexlink {
namespace {

TEST(LaneWish, ReadsNamesAndParts) {
  EXPECT_TRUE(parseLanes("").value().lanes.empty());
  LaneWish wish = parseLanes("vendor,hier").value();
  EXPECT_TRUE(wish.names("vendor") && wish.names("hier") && !wish.names("memory"));
  EXPECT_FALSE(wish.fixed());
  wish = parseLanes("memory:1,vendor:3").value();
  EXPECT_TRUE(wish.fixed());
  EXPECT_EQ(wish.lanes[1].lane, "vendor");
  EXPECT_EQ(wish.lanes[1].part, 3u);
}

TEST(LaneWish, SaysWhatIsWrong) {
  for (const char* text : {"nvlink", "vendor:", "vendor:0", "vendor:x", "vendor:1.5", "vendor:2000",
                           "vendor,vendor", "vendor:1,memory", "vendor,memory:1", ",", " vendor"}) {
    Result<LaneWish> wish = parseLanes(text);
    ASSERT_FALSE(wish.ok()) << text;
    EXPECT_NE(std::string(wish.status().text()).find("FLEXLINK_LANES"), std::string::npos);
  }
}

TEST(EpochReport, IsTheSameAfterTheWire) {
  EpochReport report;
  report.begun = 77;
  for (uint16_t i = 0; i < 3; ++i) {
    LaneSample sample;
    sample.operations = static_cast<uint16_t>(i + 1);
    sample.operationClass = operationClass(Collective::kAlltoAll, 1u << (20 + i));
    sample.epoch = 9u + i;
    sample.bytes[1] = 5.5 * i;
    sample.seconds[0] = 1e-3 * i;
    report.samples.push_back(sample);
  }
  report.proposal = WeightProposal{allOn(1, 2), report.samples[0].operationClass, 12};
  const std::string bytes = packReport(report, 2);
  EpochReport read = unpackReport(bytes, 2).value();
  EXPECT_EQ(packReport(read, 2), bytes);
  EXPECT_EQ(read.proposal->weights, report.proposal->weights);
  EXPECT_EQ(read.samples[2].bytes[1], 11.0);
}

TEST(EpochReport, DamagedOnesAreErrors) {
  EpochReport report;
  report.samples.resize(2);
  report.proposal = WeightProposal{allOn(0, 2), 0, 1};
  const std::string bytes = packReport(report, 2);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(unpackReport(bytes.substr(0, size), 2).ok()) << size;
  }
  std::string many = bytes;
  many[8] = many[9] = many[10] = '\xff';  // the number of samples
  EXPECT_FALSE(unpackReport(many, 2).ok());
  report.proposal->weights.parts[0] = 5;  // the sum is not the whole
  EXPECT_FALSE(unpackReport(packReport(report, 2), 2).ok());
}

}  // namespace
}  // namespace flexlink
