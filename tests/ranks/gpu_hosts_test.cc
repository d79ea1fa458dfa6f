// SPDX-License-Identifier: Apache-2.0
// GPUs of several hosts (FLEXLINK_HOSTID), by images of their memory in the hosts': the cases of
// one host, and what is different. The bodies that gpu_test.cc has are found by their names.
#include <gtest/gtest.h>
#include <signal.h>

#include <deque>
#include <string>
#include <vector>

#include "support/check.h"
#include "support/collective_case.h"
#include "support/gpu.h"
#include "support/numbers.h"
#include "support/rank_run.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

constexpr size_t kCount = 50'000;

struct Spread {
  const char* hosts;  // one digit for each rank; the same for all of a process
  How how;
  int gpus;
};

std::string spreadName(const ::testing::TestParamInfo<Spread>& info) {
  return std::string(info.param.hosts) + howName(info.param.how) + "On" +
         std::to_string(info.param.gpus);
}

RunOptions across(const Spread& spread, const std::vector<std::string>& more = {}) {
  RunOptions o;
  o.hosts = spread.hosts;
  o.size = static_cast<int>(o.hosts.size());
  o.how = spread.how;
  o.env = gpuEnv(spread.gpus, more);
  return o;
}

std::string sample(int cases, size_t maxBytes) {
  return std::to_string(testSeed()) + " 77000000 " + std::to_string(inReach(cases)) + " " +
         std::to_string(maxBytes);
}

class GpusOfHosts : public ::testing::TestWithParam<Spread> {};

TEST_P(GpusOfHosts, RandomCasesGiveExactResultsAndTouchNothingElse) {
  RunOptions o = across(GetParam());
  o.args = sample(60, size_t{1} << 20);
  expectRanksPass("RandomCases", o);
}

TEST_P(GpusOfHosts, BatchesOnAStreamAndInGroupsGiveExactResults) {
  RunOptions o = across(GetParam());
  o.args = sample(48, size_t{128} << 10);
  expectRanksPass("RandomBatches", o);
}

// What nobody waits for comes late.
TEST_P(GpusOfHosts, SlowStreamsGiveExactResults) {
  RunOptions o = across(GetParam(), {"FAKE_GPU_DELAY_US=300"});
  o.args = sample(24, size_t{256} << 10);
  expectRanksPass("RandomBatches", o);
}

TEST_P(GpusOfHosts, WorkIsDoneInTheOrderOfTheProgramsStreams) {
  expectRanksPass("GpuStreamIsTheOrder", across(GetParam()));
  expectRanksPass("GpuGroupsOverStreams", across(GetParam(), {"FAKE_GPU_DELAY_US=300"}));
  if (GetParam().how == How::kProcesses) expectRanksPass("GpuNullStream", across(GetParam()));
}

TEST_P(GpusOfHosts, AFactorMayLieOnTheDevice) {
  expectRanksPass("GpuScalarOfTheDevice", across(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Spreads, GpusOfHosts,
                         ::testing::Values(Spread{"01", How::kProcesses, 1},
                                           Spread{"001", How::kProcesses, 2},
                                           Spread{"0101", How::kMixed, 2},
                                           Spread{"0120", How::kProcesses, 1}),
                         spreadName);

// Of many slices.
RANK_BODY(GpuLongCallsAcross) {
  Comm comm = makeWorld(ctx);
  const auto ranks = static_cast<size_t>(ctx.size);
  constexpr size_t kLong = kSanitized ? 2'500'001 : 9'000'001;
  {
    Stream stream;
    Numbers sum(kLong), block(kLong / 4), all(kLong / 4 * ranks), to(kLong / 4 * ranks);
    for (size_t i = 0; i < kLong; ++i) sum.host[i] = static_cast<int32_t>(i % 9973) + ctx.rank;
    for (size_t i = 0; i < block.count(); ++i) {
      block.host[i] = static_cast<int32_t>(i * 7 % 9973) + ctx.rank * 10'000;
    }
    for (Numbers* each : {&sum, &block}) each->upload();
    RANK_OK(ncclAllReduce(sum.at(), sum.at(), kLong, ncclInt32, ncclSum, comm, stream));
    RANK_OK(ncclAllGather(block.at(), all.at(), block.count(), ncclInt32, comm, stream));
    RANK_OK(ncclAlltoAll(all.at(), to.at(), block.count(), ncclInt32, comm, stream));
    stream.sync();
    for (Numbers* each : {&sum, &all, &to}) each->download();
    const int32_t ofRanks = ctx.size * (ctx.size - 1) / 2;
    for (size_t i = 0; i < kLong; ++i) {
      RANK_EQ(sum.host[i], static_cast<int32_t>(i % 9973) * ctx.size + ofRanks);
    }
    for (size_t i = 0; i < all.count(); ++i) {
      const size_t at = i % block.count(), from = i / block.count();
      const auto value = static_cast<int32_t>(at * 7 % 9973);
      RANK_EQ(all.host[i], value + static_cast<int32_t>(from) * 10'000);
      RANK_EQ(to.host[i], value + ctx.rank * 10'000);
    }
  }
  comm.destroy();
}

TEST(GpuHosts, LongCallsGiveExactResults) {
  expectRanksPass("GpuLongCallsAcross", across({"01", How::kProcesses, 1}));
  expectRanksPass("GpuLongCallsAcross", across({"0101", How::kMixed, 2}));
}

TEST(GpuHosts, BitsAreThoseOfTheHostsMemory) {
  RunOptions host;
  host.size = 3;
  host.hosts = "001";
  host.args = "malloc";
  RunOptions gpu = across({"001", How::kProcesses, 1});
  gpu.args = "malloc";
  const Outcome first = expectRanksPass("ArbitraryFloatCases", host);
  const Outcome second = expectRanksPass("ArbitraryFloatCases", gpu);
  ASSERT_FALSE(first.values[0].empty());
  EXPECT_EQ(first.values, second.values);
}

// From the last rank to the first, while they are sent from the first to the last, to oneself too.
RANK_BODY(GpuLettersAcross) {
  Comm comm = makeWorld(ctx);
  constexpr size_t kCounts[] = {3'000'000, 1, 0, 70'000};
  {
    Stream streams[2];
    std::deque<Numbers> sent, got;
    for (int peer = 0; peer < ctx.size; ++peer) {
      for (size_t count : kCounts) {
        sent.emplace_back(count, ctx.rank * 100 + peer);
        got.emplace_back(count, -1);
      }
    }
    const size_t kinds = std::size(kCounts);
    for (size_t i = 0; i < sent.size(); ++i) {
      const size_t other = (sent.size() - kinds) - i / kinds * kinds + i % kinds;
      RANK_OK(ncclSend(sent[i].at(), sent[i].count(), ncclInt32, static_cast<int>(i / kinds), comm,
                       streams[0]));
      RANK_OK(ncclRecv(got[other].at(), got[other].count(), ncclInt32,
                       static_cast<int>(other / kinds), comm, streams[1]));
    }
    for (Stream& stream : streams) stream.sync();
    for (size_t i = 0; i < got.size(); ++i) {
      got[i].checkAll(static_cast<int>(i / kinds) * 100 + ctx.rank);
    }
  }
  comm.destroy();
}

TEST(GpuHosts, MessagesOfAllSizesArrive) {
  expectRanksPass("GpuLettersAcross", across({"01", How::kProcesses, 1}));
  expectRanksPass("GpuLettersAcross", across({"0101", How::kMixed, 2}, {"FAKE_GPU_DELAY_US=200"}));
}

// Two halves of a message that do not fit, also where both have as many whole pieces.
RANK_BODY(GpuUnlikeLetters) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  Numbers x(2 << 20, 1);
  const size_t count = ctx.rank == 0 ? x.count() : x.count() / 2;
  RANK_OK(ctx.rank == 0 ? ncclSend(x.at(), count, ncclInt32, 1, comm, stream)
                        : ncclRecv(x.at(), count, ncclInt32, 0, comm, stream));
  stream.sync();
  RANK_IS(pollAsync(comm, 5), ncclInvalidUsage);
  RANK_MENTIONS(lastError(comm), "2097152", "1048576");
  comm.abort();
}

RANK_BODY(GpuUnlikeCallsAcross) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  Numbers x(50'000, 1);
  const size_t count = ctx.rank == 1 ? 49'999 : x.count();
  RANK_OK(ncclAllReduce(x.at(), x.at(), count, ncclInt32, ncclSum, comm, stream));
  stream.sync();
  RANK_IS(pollAsync(comm, 5), ncclInvalidUsage);
  RANK_MENTIONS(lastError(comm), "49999", "50000");
  comm.abort();
}

TEST(GpuHosts, UnlikeCallsAreFound) {
  expectRanksPass("GpuUnlikeLetters", across({"01", How::kProcesses, 1}));
  expectRanksPass("GpuUnlikeCallsAcross", across({"01", How::kProcesses, 1}));
  expectRanksPass("GpuUnlikeCallsAcross", across({"0101", How::kMixed, 2}));
}

TEST(GpuHosts, AStreamGoesOnBehindWhatIsAborted) {
  expectRanksPass("GpuAbort", across({"01", How::kProcesses, 1}));
}

TEST(GpuHosts, ADeadPeerEndsTheWaitOfAStream) {
  RunOptions o = across({"01", How::kProcesses, 1});
  o.args = "out of reach";
  o.mayDie = {1};
  RankRun run("GpuPeerDies", o);
  run.start();
  ASSERT_TRUE(run.waitFlag(2, 20));
  run.signalRank(1, SIGKILL);
  const Outcome outcome = run.finish();
  EXPECT_TRUE(outcome.ok()) << outcome.report();
}

TEST(GpuHosts, WhoIsThroughMayLeaveAtOnce) {
  expectRanksPass("GpuLeavesAtOnce", across({"0101", How::kMixed, 1}, {"FAKE_GPU_DELAY_US=3000"}));
}

// What peers would have to reach by themselves.
RANK_BODY(GpuNoOneSidedCalls) {
  Comm comm = makeWorld(ctx);
  ncclCommProperties_t facts = NCCL_COMM_PROPERTIES_INITIALIZER;
  RANK_OK(ncclCommQueryProperties(comm, &facts));
  RANK_EQ(facts.nLsaTeams, ctx.size);
  RANK_TRUE(!facts.hostRmaSupport);
  Stream stream;
  Numbers x(100, ctx.rank);
  ncclWindow_t window = nullptr;
  RANK_OK(ncclCommWindowRegister(comm, x.at(), x.bytes(), &window, 0));
  ncclWaitSignalDesc_t one{1, 0, 0, 0};
  RANK_IS(ncclPutSignal(x.at(), 100, ncclInt32, 0, window, 0, 0, 0, 0, comm, stream),
          ncclInvalidUsage);
  RANK_MENTIONS(lastError(comm), "several hosts", "ncclSend");
  RANK_IS(ncclSignal(0, 0, 0, 0, comm, stream), ncclInvalidUsage);
  RANK_IS(ncclWaitSignal(1, &one, comm, stream), ncclInvalidUsage);
  RANK_OK(ncclAllReduce(x.at(), x.at(), 100, ncclInt32, ncclMax, comm, stream));
  stream.sync();
  x.checkAll(ctx.size - 1);
  RANK_OK(ncclCommWindowDeregister(comm, window));
  comm.destroy();
}

TEST(GpuHosts, OneSidedCallsAreRefused) {
  expectRanksPass("GpuNoOneSidedCalls", across({"001", How::kProcesses, 1}));
}

// One child on one host, by the GPUs themselves, and one on two.
RANK_BODY(GpuChildrenAcross) {
  Comm world = makeWorld(ctx);
  const int colour = ctx.rank == 1 || ctx.rank == 2 ? 1 : 0;
  Comm child;
  RANK_OK(ncclCommSplit(world, colour, -ctx.rank, child.put(), nullptr));
  {
    Stream stream;
    Numbers x(kCount, ctx.rank + 1), y(kCount, ctx.rank + 1);
    RANK_OK(ncclAllReduce(x.at(), x.at(), kCount, ncclInt32, ncclSum, child, stream));
    RANK_OK(ncclAllReduce(y.at(), y.at(), kCount, ncclInt32, ncclSum, world, stream));
    stream.sync();
    x.checkAll(5);
    y.checkAll(10);
  }
  child.destroy();
  world.destroy();
}

TEST(GpuHosts, ChildrenWorkOnTheirPartOfTheHosts) {
  for (const char* hosts : {"0110", "0011", "0123"}) {
    expectRanksPass("GpuChildrenAcross", across({hosts, How::kProcesses, 2}));
  }
}

}  // namespace
}  // namespace ranktest
