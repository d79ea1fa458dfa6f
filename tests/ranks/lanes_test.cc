// SPDX-License-Identifier: Apache-2.0
// Collectives that are split between the vendor's library, for which a second copy of this one
// stands in, and our own lane: the same cases as with ours alone.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/collective_case.h"
#include "support/rank_run.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

struct Spread {
  int size;
  const char* lanes;
  const char* hosts = "";
  How how = How::kProcesses;
};

Outcome over(const char* body, const Spread& spread, const std::string& args = "",
             const std::vector<std::string>& env = {}) {
  RunOptions o;
  o.size = spread.size;
  o.how = spread.how;
  o.hosts = spread.hosts;
  o.lanes = spread.lanes;
  o.args = args;
  o.env = env;
  SCOPED_TRACE(std::string("lanes ") + spread.lanes + ", hosts " + spread.hosts);
  return expectRanksPass(body, o);
}

// With fixed parts also the smallest calls are cut.
const Spread kSpreads[] = {{2, "vendor:1,memory:1"},
                           {3, "vendor:1,memory:3", "", How::kThreads},
                           {4, "vendor:700,memory:324", "", How::kMixed},
                           {5, "vendor:1,memory:1000"},
                           {4, "vendor:1,hier:1", "0011"},
                           {3, "vendor:1,message:1", "012"}};

std::string cases(int count, size_t maxBytes) {
  return std::to_string(testSeed()) + " 50000000 " + std::to_string(inReach(count)) + " " +
         std::to_string(maxBytes);
}

// Long enough for the ranks to agree several times, with a check of every element.
RANK_BODY(ManyLongSums) {
  Comm comm = makeWorld(ctx);
  std::vector<int32_t> data(300'000), sum(data.size());
  for (int round = 0; round < inReach(400); ++round) {
    for (size_t i = 0; i < data.size(); ++i) {
      data[i] = static_cast<int32_t>(i % 1000) * (ctx.rank + 1) + round;
    }
    RANK_OK(ncclAllReduce(data.data(), sum.data(), data.size(), ncclInt32, ncclSum, comm, nullptr));
    const int32_t each = ctx.size * (ctx.size + 1) / 2;
    for (size_t i = 0; i < data.size(); ++i) {
      RANK_EQ(sum[i], static_cast<int32_t>(i % 1000) * each + round * ctx.size);
    }
  }
}

TEST(Lanes, RandomCasesGiveExactResults) {
  printf("FLEXLINK_TEST_SEED=%llu\n", static_cast<unsigned long long>(testSeed()));
  for (const Spread& spread : kSpreads) over("RandomCases", spread, cases(80, 2 << 20));
}
TEST(Lanes, BatchesOnAStreamAndInGroupsGiveExactResults) {
  for (const Spread& spread : kSpreads) over("RandomBatches", spread, cases(32, 256 << 10));
}
TEST(Lanes, ChildrenThatComeLateHaveThemToo) {
  for (const char* body : {"SplitByColourAndKey", "SplitNoColour"}) {
    over(body, {4, "vendor:1,memory:1"});
    over(body, {4, "vendor:1,hier:1", "0011"});
  }
}
TEST(Lanes, PutsAndSignalsGoTheirWay) { over("PutToAll", {3, "vendor:1,memory:1"}); }

TEST(Lanes, RanksAgreeOnSharesWhileTheyWork) {
  // Creation has a limit, the rounds that follow have none.
  const std::vector<std::string> env = {"NCCL_DEBUG=INFO", "NCCL_DEBUG_SUBSYS=TUNING,INIT",
                                        "FLEXLINK_INIT_TIMEOUT=0.4"};
  for (const Spread& spread :
       {Spread{2, "vendor,memory"}, Spread{3, "vendor,memory", "", How::kThreads}}) {
    const Outcome out = over("ManyLongSums", spread, "", env);
    EXPECT_NE(out.output.find("lane vendor+memory"), std::string::npos);
    EXPECT_NE(out.output.find("lanes' shares"), std::string::npos);
    EXPECT_EQ(out.output.find("FLEXLINK_INIT_TIMEOUT"), std::string::npos) << out.output;
  }
}

TEST(Lanes, WithoutTheVendorOursCarryAll) {
  const Outcome out = over(
      "ManyLongSums", {2, ""}, "",
      {"FLEXLINK_LANES=vendor,memory", "FLEXLINK_NCCL_PATH=/none/libnccl.so", "NCCL_DEBUG=INFO"});
  EXPECT_NE(out.output.find("the vendor lane is not used"), std::string::npos) << out.output;
  EXPECT_NE(out.output.find("lane memory"), std::string::npos);
}

TEST(Lanes, WrongSettingsAreAnErrorThatNamesThem) {
  RunOptions o;
  o.env = {"FLEXLINK_LANES=nvlink"};
  RankRun run("ManyLongSums", o);
  run.start();
  const Outcome out = run.finish();
  EXPECT_FALSE(out.ok());
  EXPECT_NE(out.report().find("FLEXLINK_LANES: 'nvlink'"), std::string::npos) << out.report();
}

}  // namespace
}  // namespace ranktest
