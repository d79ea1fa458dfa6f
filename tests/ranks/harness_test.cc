// SPDX-License-Identifier: Apache-2.0
// The harness itself must notice what it is there for: failures, hangs, deaths. No FlexLink call
// but the numbers of a case, whose reference is checked against hand-made values.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "support/check.h"
#include "support/collective_case.h"
#include "support/rank_run.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

RANK_BODY(HarnessPublishes) {
  ctx.barrier();
  ctx.publish(static_cast<uint64_t>(ctx.rank) * 10);
  ctx.publish(static_cast<uint64_t>(getpid()));
}

RANK_BODY(HarnessOneRankFails) {
  RANK_TRUE_MSG(ctx.rank != 1, "on purpose");
  ctx.barrier();
}

RANK_BODY(HarnessOneRankHangs) {
  ctx.at("the endless pause of rank %d", ctx.rank);
  while (ctx.rank == 1) pause();
}

RANK_BODY(HarnessOneRankDies) {
  if (ctx.rank == 1) raise(SIGKILL);
}

RunOptions three(How how) {
  RunOptions o;
  o.size = 3;
  o.how = how;
  return o;
}

TEST(Harness, RanksLiveInAsManyProcessesAsAsked) {
  const auto pids = [](How how) {
    const Outcome out = expectRanksPass("HarnessPublishes", three(how));
    return std::vector<uint64_t>{out.values[0].at(1), out.values[1].at(1), out.values[2].at(1)};
  };
  const auto threads = pids(How::kThreads);
  EXPECT_TRUE(threads[0] == threads[1] && threads[1] == threads[2]);
  const auto mixed = pids(How::kMixed);
  EXPECT_TRUE(mixed[0] == mixed[2] && mixed[0] != mixed[1]);
  const auto processes = pids(How::kProcesses);
  EXPECT_TRUE(processes[0] != processes[1] && processes[1] != processes[2]);
}

TEST(Harness, FailedCheckArrivesWithRankFileAndText) {
  for (How how : {How::kThreads, How::kProcesses}) {
    const Outcome out = runRanks("HarnessOneRankFails", three(how));
    ASSERT_FALSE(out.ok());
    EXPECT_NE(out.report().find("rank 1: "), std::string::npos) << out.report();
    EXPECT_NE(out.report().find("harness_test.cc:"), std::string::npos) << out.report();
    EXPECT_NE(out.report().find("on purpose"), std::string::npos) << out.report();
  }
}

TEST(Harness, HangIsEndedAndNamedAfterTheDeadline) {
  RunOptions o = three(How::kProcesses);
  o.deadlineSeconds = 0.3;
  const Outcome out = runRanks("HarnessOneRankHangs", o);
  ASSERT_EQ(out.problems.size(), 1U) << out.report();
  EXPECT_EQ(out.problems[0], "rank 1: still at the endless pause of rank 1");
  EXPECT_LT(out.seconds, 5 * kSlowdown);
}

TEST(Harness, DeathOfARankIsAProblemUnlessTheTestSentIt) {
  RunOptions o = three(How::kProcesses);
  EXPECT_FALSE(runRanks("HarnessOneRankDies", o).ok());
  o.mayDie = {1};
  EXPECT_TRUE(runRanks("HarnessOneRankDies", o).ok());
}

TEST(Harness, UnknownBodyIsAProblem) {
  EXPECT_FALSE(runRanks("NoSuchBody", three(How::kThreads)).ok());
}

TEST(Reference, SmallFloatsEncodeAndDecode) {
  EXPECT_EQ(fromFloat(1.0F, ncclFloat16), 0x3c00U);
  EXPECT_EQ(fromFloat(-2.5F, ncclFloat16), 0xc100U);
  EXPECT_EQ(fromFloat(0x1p-24F, ncclFloat16), 1U);         // the smallest subnormal
  EXPECT_EQ(fromFloat(0x1.002p0F, ncclFloat16), 0x3c00U);  // a tie goes to even
  EXPECT_EQ(fromFloat(0x1.006p0F, ncclFloat16), 0x3c02U);
  EXPECT_EQ(fromFloat(1.0F, ncclBfloat16), 0x3f80U);
  EXPECT_EQ(fromFloat(448.0F, ncclFloat8e4m3), 0x7eU);
  EXPECT_EQ(fromFloat(0x1p-9F, ncclFloat8e4m3), 1U);
  EXPECT_EQ(fromFloat(57344.0F, ncclFloat8e5m2), 0x7bU);
  for (ncclDataType_t type : {ncclFloat16, ncclBfloat16, ncclFloat8e4m3, ncclFloat8e5m2}) {
    for (int value = -8; value <= 8; ++value) {
      EXPECT_EQ(toNumber(fromInteger(value, type), type), value) << typeText(type);
    }
  }
}

TEST(Reference, FoldRoundsOnceAndWrapsIntegers) {
  // 2048 + 1 + 1 in float16: rounded once it is 2050, rounded at each step it would stay 2048.
  const std::vector<Bits> halves = {fromFloat(2048, ncclFloat16), fromFloat(1, ncclFloat16),
                                    fromFloat(1, ncclFloat16)};
  EXPECT_EQ(foldBits(halves, ncclFloat16, Op::kSum, {}), fromFloat(2050, ncclFloat16));
  EXPECT_EQ(foldBits({100, 100}, ncclInt8, Op::kSum, {}), 200U);
  EXPECT_EQ(foldBits({100, 100}, ncclInt8, Op::kAvg, {}), static_cast<uint8_t>(-28));
  EXPECT_EQ(foldBits({0xff, 1}, ncclInt8, Op::kMax, {}), 1U);
  EXPECT_EQ(foldBits({0xff, 1}, ncclUint8, Op::kMax, {}), 0xffU);
  EXPECT_EQ(foldBits({3, 4}, ncclInt32, Op::kPreMulSum, {2, 5}), 26U);
}

TEST(Reference, BothWaysToAnExactResultAgree) {
  for (uint64_t index = 0; index < 300; ++index) {
    Case c = drawCase(7, index, 5, 4096);
    c.smallIntegers = true;
    if (!reduces(c.coll) || c.count == 0) continue;
    std::vector<Bits> inputs;
    std::vector<Bits> scalars;
    for (int rank = 0; rank < 5; ++rank) {
      inputs.push_back(inputBits(c, 5, rank, c.coll == Coll::kReduceScatter ? 2 : 0, 0));
      scalars.push_back(scalarBits(c, rank));
    }
    const Bits folded = foldBits(inputs, c.type, c.op, scalars);
    const Bits closed = resultBits(c, 5, 2, 0, 0);
    EXPECT_EQ(folded, closed) << c.text();
  }
}

}  // namespace
}  // namespace ranktest
