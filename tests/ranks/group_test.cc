// SPDX-License-Identifier: Apache-2.0
// Groups: nesting, several communicators, mixtures, all patterns of sends and receives, and what an
// error inside a group does.
#include <gtest/gtest.h>
#include <string.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/rank_run.h"
#include "support/rank_suite.h"
#include "support/sanitized.h"
#include "support/values.h"

namespace ranktest {
namespace {

// What rank `from` sends to rank `to` in the all-to-all-v: element i.
int32_t letter(int from, int to, size_t i) {
  return from * 1'000'000 + to * 10'000 + static_cast<int32_t>(i % 9973);
}

size_t letterCount(int from, int to, int ranks) {
  return static_cast<size_t>((from * ranks + to) % 4) * 3001;  // some pairs exchange nothing
}

RANK_BODY(AllToAllV) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  const int n = ctx.size;
  std::vector<std::vector<int32_t>> out(n);
  std::vector<std::vector<int32_t>> in(n);
  for (cudaStream_t s : {static_cast<cudaStream_t>(nullptr), static_cast<cudaStream_t>(stream)}) {
    for (int peer = 0; peer < n; ++peer) {
      out[peer].resize(letterCount(ctx.rank, peer, n));
      in[peer].assign(letterCount(peer, ctx.rank, n), -1);
      for (size_t i = 0; i < out[peer].size(); ++i) out[peer][i] = letter(ctx.rank, peer, i);
    }
    RANK_OK(ncclGroupStart());
    for (int peer = 0; peer < n; ++peer) {
      RANK_OK(ncclSend(out[peer].data(), out[peer].size(), ncclInt32, peer, comm, s));
      RANK_OK(ncclRecv(in[peer].data(), in[peer].size(), ncclInt32, peer, comm, s));
    }
    RANK_OK(ncclGroupEnd());
    if (s != nullptr) stream.sync();
    for (int peer = 0; peer < n; ++peer) {
      for (size_t i = 0; i < in[peer].size(); ++i) {
        RANK_EQ(in[peer][i], letter(peer, ctx.rank, i));
      }
    }
  }
  comm.destroy();
}

// All receives are posted before all sends, in opposite orders of peers on odd ranks.
RANK_BODY(ReceivesFirst) {
  Comm comm = makeWorld(ctx);
  constexpr size_t kCount = 40'000;
  const int n = ctx.size;
  std::vector<int> order(n);
  std::iota(order.begin(), order.end(), 0);
  if (ctx.rank % 2 == 1) std::reverse(order.begin(), order.end());
  std::vector<std::vector<int32_t>> in(n, std::vector<int32_t>(kCount));
  std::vector<std::vector<int32_t>> out(n, std::vector<int32_t>(kCount));
  for (int peer = 0; peer < n; ++peer) {
    for (size_t i = 0; i < kCount; ++i) out[peer][i] = letter(ctx.rank, peer, i);
  }
  RANK_OK(ncclGroupStart());
  for (int peer : order) {
    RANK_OK(ncclRecv(in[peer].data(), kCount, ncclInt32, peer, comm, nullptr));
  }
  for (int peer : order) {
    RANK_OK(ncclSend(out[peer].data(), kCount, ncclInt32, peer, comm, nullptr));
  }
  RANK_OK(ncclGroupEnd());
  for (int peer = 0; peer < n; ++peer) {
    for (size_t i = 0; i < kCount; ++i) RANK_EQ(in[peer][i], letter(peer, ctx.rank, i));
  }
  comm.destroy();
}

// Several messages between one pair in one group meet in the order of the calls.
RANK_BODY(OrderOfMessages) {
  Comm comm = makeWorld(ctx);
  constexpr int kMessages = 9;
  const int to = (ctx.rank + 1) % ctx.size;
  const int from = (ctx.rank + ctx.size - 1) % ctx.size;
  std::vector<std::vector<int64_t>> out(kMessages);
  std::vector<std::vector<int64_t>> in(kMessages);
  RANK_OK(ncclGroupStart());
  for (int m = 0; m < kMessages; ++m) {
    const size_t count = size_t{1} << (2 * m);  // 8 B … 512 KiB
    out[m].assign(count, ctx.rank * 100 + m);
    in[m].assign(count, -1);
    RANK_OK(ncclSend(out[m].data(), count, ncclInt64, to, comm, nullptr));
  }
  for (int m = 0; m < kMessages; ++m) {
    RANK_OK(ncclRecv(in[m].data(), in[m].size(), ncclInt64, from, comm, nullptr));
  }
  RANK_OK(ncclGroupEnd());
  for (int m = 0; m < kMessages; ++m) {
    for (int64_t x : in[m]) RANK_EQ(x, from * 100 + m);
  }
  comm.destroy();
}

// Rank 0 sends to rank 1 outside any group, rank 1 receives: a plain pipeline down the ranks.
RANK_BODY(Pipeline) {
  Comm comm = makeWorld(ctx);
  for (size_t count : {size_t{0}, size_t{1}, size_t{1000}, size_t{300'000}}) {
    std::vector<int32_t> data(count + 1, -1);
    if (ctx.rank > 0) {
      RANK_OK(ncclRecv(data.data(), count, ncclInt32, ctx.rank - 1, comm, nullptr));
    } else {
      for (size_t i = 0; i < count; ++i) data[i] = static_cast<int32_t>(i);
    }
    for (size_t i = 0; i < count; ++i) {
      RANK_EQ(data[i], static_cast<int32_t>(i) + ctx.rank);
      data[i] += 1;
    }
    RANK_EQ(data[count], -1);
    if (ctx.rank + 1 < ctx.size) {
      RANK_OK(ncclSend(data.data(), count, ncclInt32, ctx.rank + 1, comm, nullptr));
    }
  }
  comm.destroy();
}

RANK_BODY(MixedGroup) {
  Comm comm = makeWorld(ctx);
  const int n = ctx.size;
  const int right = (ctx.rank + 1) % n;
  const int left = (ctx.rank + n - 1) % n;
  for (int round = 0; round < 20; ++round) {
    const size_t count = round % 3 == 0 ? 5 : 20'000;
    std::vector<int64_t> sum(count, ctx.rank + round);
    std::vector<int64_t> maximum(count, ctx.rank * round);
    std::vector<int64_t> gathered(count * n, -1);
    std::vector<int64_t> mine(count, ctx.rank);
    std::vector<int64_t> received(count, -1);
    RANK_OK(ncclGroupStart());
    RANK_OK(ncclAllReduce(sum.data(), sum.data(), count, ncclInt64, ncclSum, comm, nullptr));
    RANK_OK(ncclSend(mine.data(), count, ncclInt64, right, comm, nullptr));
    RANK_OK(ncclAllGather(mine.data(), gathered.data(), count, ncclInt64, comm, nullptr));
    RANK_OK(ncclRecv(received.data(), count, ncclInt64, left, comm, nullptr));
    RANK_OK(
        ncclAllReduce(maximum.data(), maximum.data(), count, ncclInt64, ncclMax, comm, nullptr));
    RANK_OK(ncclGroupEnd());
    for (size_t i = 0; i < count; ++i) {
      RANK_EQ(sum[i], int64_t{n} * (n - 1) / 2 + int64_t{n} * round);
      RANK_EQ(maximum[i], int64_t{n - 1} * round);
      RANK_EQ(received[i], left);
    }
    for (size_t i = 0; i < gathered.size(); ++i) {
      RANK_EQ(gathered[i], static_cast<int64_t>(i / count));
    }
  }
  comm.destroy();
}

// Nothing runs before the outermost End: the input may still change until then.
RANK_BODY(NestedGroup) {
  Comm comm = makeWorld(ctx);
  std::vector<int32_t> data(10, 1);
  std::vector<int32_t> out(10, -7);
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclAllReduce(data.data(), out.data(), 10, ncclInt32, ncclSum, comm, nullptr));
  RANK_OK(ncclGroupEnd());
  RANK_OK(ncclGroupEnd());
  for (int32_t x : out) RANK_EQ(x, -7);
  data.assign(10, 2);
  RANK_OK(ncclGroupEnd());
  for (int32_t x : out) RANK_EQ(x, 2 * ctx.size);
  RANK_IS(ncclGroupEnd(), ncclInvalidUsage);
  RANK_MENTIONS(lastError(nullptr), "group");
  RANK_OK(ncclAllReduce(data.data(), out.data(), 10, ncclInt32, ncclMax, comm, nullptr));
  for (int32_t x : out) RANK_EQ(x, 2);
  comm.destroy();
}

RANK_BODY(EmptyGroup) {
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclGroupEnd());
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclGroupEnd());
  RANK_OK(ncclGroupEnd());
  RANK_IS(ncclGroupEnd(), ncclInvalidUsage);
}

// A group that had a bad call runs nothing, says which call was bad, and the communicator lives on.
RANK_BODY(BadCallInGroup) {
  Comm comm = makeWorld(ctx);
  std::vector<int32_t> data(100, 3);
  std::vector<int32_t> out(100, -1);
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclAllReduce(data.data(), out.data(), 100, ncclInt32, ncclSum, comm, nullptr));
  RANK_IS(ncclBroadcast(data.data(), out.data(), 100, ncclInt32, ctx.size, comm, nullptr),
          ncclInvalidArgument);
  RANK_IS(ncclGroupEnd(), ncclInvalidArgument);
  RANK_MENTIONS(lastError(comm), "root");
  for (int32_t x : out) RANK_EQ(x, -1);
  RANK_OK(ncclAllReduce(data.data(), out.data(), 100, ncclInt32, ncclSum, comm, nullptr));
  for (int32_t x : out) RANK_EQ(x, 3 * ctx.size);
  comm.destroy();
}

RANK_BODY(SimulatedGroup) {
  Comm comm = makeWorld(ctx);
  std::vector<int32_t> data(1000, 3);
  std::vector<int32_t> out(1000, -1);
  ncclSimInfo_t info = NCCL_SIM_INFO_INITIALIZER;
  info.estimatedTime = -5;
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclAllReduce(data.data(), out.data(), 1000, ncclInt32, ncclSum, comm, nullptr));
  RANK_OK(ncclGroupSimulateEnd(&info));
  const bool known = info.estimatedTime > 0 && info.estimatedTime < 1e6F;  // microseconds
  RANK_TRUE_MSG(known, info.estimatedTime);
  ctx.barrier();
  for (int32_t x : out) RANK_EQ(x, -1);
  RANK_IS(ncclGroupSimulateEnd(&info), ncclInvalidUsage);
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclGroupSimulateEnd(nullptr));
  RANK_OK(ncclAllReduce(data.data(), out.data(), 1000, ncclInt32, ncclSum, comm, nullptr));
  for (int32_t x : out) RANK_EQ(x, 3 * ctx.size);
  comm.destroy();
}

// What a group of AllReduces of so many floats would take, in microseconds. The buffers are not
// there: whatever ran would crash.
double estimateOf(ncclComm_t comm, const std::vector<size_t>& counts) {
  ncclSimInfo_t info = NCCL_SIM_INFO_INITIALIZER;
  void* nowhere = reinterpret_cast<void*>(64);
  RANK_OK(ncclGroupStart());
  for (size_t count : counts) {
    RANK_OK(ncclAllReduce(nowhere, nowhere, count, ncclFloat32, ncclSum, comm, nullptr));
  }
  RANK_OK(ncclGroupSimulateEnd(&info));
  return info.estimatedTime;
}

double microsecondsOf(ncclComm_t comm, size_t count) {
  std::vector<float> data(count, 1);
  std::vector<float> out(count);
  double best = 1e12;
  for (int round = 0; round < 5; ++round) {
    const double began = nowSeconds();
    RANK_OK(ncclAllReduce(data.data(), out.data(), count, ncclFloat32, ncclSum, comm, nullptr));
    best = std::min(best, (nowSeconds() - began) * 1e6);
  }
  return best;
}

RANK_BODY(EstimatedGroup) {
  Comm comm = makeWorld(ctx);
  RANK_EQ(estimateOf(comm, {}), 0.0);
  double before = 0;
  for (size_t count = 0; count < size_t{1} << 34; count = count == 0 ? 1024 : 4 * count) {
    const double now = estimateOf(comm, {count});
    RANK_TRUE_MSG(now > before, now);
    before = now;
  }
  const double both = estimateOf(comm, {1 << 20}) + estimateOf(comm, {1 << 22});
  const double together = estimateOf(comm, {1 << 20, 1 << 22});
  RANK_TRUE_MSG(together > both * 0.999 && together < both * 1.001, together / both);
  constexpr size_t kMany = 4 << 20;
  const double ratio = estimateOf(comm, {kMany}) / microsecondsOf(comm, kMany);
  // Nothing makes a copy faster; neighbours that take the cores make it slower.
  RANK_TRUE_MSG(ratio < 10 * kSlowdown && ratio > 0.01 / kSlowdown, ratio);
  comm.destroy();
}

// Two communicators of one thread, used in one group, and in turn outside groups.
RANK_BODY(TwoCommunicators) {
  Comm a = makeWorld(ctx, 0);
  Comm b = makeWorld(ctx, 1);
  Stream stream;
  std::vector<int32_t> x(5000, 1);
  std::vector<int32_t> y(5000, 10);
  for (int round = 0; round < 20; ++round) {
    x.assign(5000, 1);
    y.assign(5000, 10);
    RANK_OK(ncclGroupStart());
    const cudaStream_t s = round % 2 == 0 ? nullptr : static_cast<cudaStream_t>(stream);
    RANK_OK(ncclAllReduce(x.data(), x.data(), x.size(), ncclInt32, ncclSum, a, s));
    RANK_OK(ncclAllReduce(y.data(), y.data(), y.size(), ncclInt32, ncclSum, b, s));
    RANK_OK(ncclGroupEnd());
    stream.sync();
    for (int32_t v : x) RANK_EQ(v, ctx.size);
    for (int32_t v : y) RANK_EQ(v, 10 * ctx.size);
    RANK_OK(ncclAllReduce(x.data(), x.data(), 7, ncclInt32, ncclSum, a, nullptr));
    RANK_OK(ncclAllReduce(y.data(), y.data(), 7, ncclInt32, ncclSum, b, nullptr));
    RANK_EQ(x[0], ctx.size * ctx.size);
    RANK_EQ(y[6], 10 * ctx.size * ctx.size);
  }
  a.destroy();
  b.destroy();
}

// Work on different streams of one communicator, joined by one group.
RANK_BODY(SeveralStreamsInAGroup) {
  Comm comm = makeWorld(ctx);
  Stream s1;
  Stream s2;
  std::vector<int32_t> x(30'000, 1);
  std::vector<int32_t> y(30'000, 2);
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclAllReduce(x.data(), x.data(), x.size(), ncclInt32, ncclSum, comm, s1));
  RANK_OK(ncclAllReduce(y.data(), y.data(), y.size(), ncclInt32, ncclSum, comm, s2));
  RANK_OK(ncclGroupEnd());
  s2.sync();
  for (int32_t v : y) RANK_EQ(v, 2 * ctx.size);
  s1.sync();
  for (int32_t v : x) RANK_EQ(v, ctx.size);
  comm.destroy();
}

// One thread holds all ranks of a communicator: only a group can drive them.
RANK_BODY(InitAllInOneThread) {
  constexpr int kRanks = 4;
  ncclComm_t comms[kRanks] = {};
  RANK_OK(ncclCommInitAll(comms, kRanks, nullptr));
  std::vector<std::vector<float>> data(kRanks);
  std::vector<std::vector<float>> out(kRanks);
  for (size_t count : {size_t{1}, size_t{1000}, size_t{100'000}}) {
    for (int r = 0; r < kRanks; ++r) {
      int rank = -1;
      int size = -1;
      RANK_OK(ncclCommUserRank(comms[r], &rank));
      RANK_OK(ncclCommCount(comms[r], &size));
      RANK_EQ(rank, r);
      RANK_EQ(size, kRanks);
      data[r].assign(count, static_cast<float>(r + 1));
      out[r].assign(count, -1);
    }
    RANK_OK(ncclGroupStart());
    for (int r = 0; r < kRanks; ++r) {
      RANK_OK(ncclAllReduce(data[r].data(), out[r].data(), count, ncclFloat32, ncclSum, comms[r],
                            nullptr));
    }
    RANK_OK(ncclGroupEnd());
    for (int r = 0; r < kRanks; ++r) {
      for (float v : out[r]) RANK_EQ(v, 10.0F);
    }
    RANK_OK(ncclGroupStart());
    for (int r = 0; r < kRanks; ++r) {
      RANK_OK(ncclSend(data[r].data(), count, ncclFloat32, (r + 1) % kRanks, comms[r], nullptr));
      RANK_OK(ncclRecv(out[r].data(), count, ncclFloat32, (r + kRanks - 1) % kRanks, comms[r],
                       nullptr));
    }
    RANK_OK(ncclGroupEnd());
    for (int r = 0; r < kRanks; ++r) {
      for (float v : out[r]) RANK_EQ(v, data[(r + kRanks - 1) % kRanks][0]);
    }
  }
  RANK_OK(ncclGroupStart());
  for (ncclComm_t comm : comms) RANK_OK(ncclCommDestroy(comm));
  RANK_OK(ncclGroupEnd());
}

// The usual idiom of single-process programs: InitRank for each device inside one group.
RANK_BODY(InitRanksInAGroup) {
  constexpr int kRanks = 3;
  ncclComm_t comms[kRanks] = {};
  ncclUniqueId id;
  RANK_OK(ncclGetUniqueId(&id));
  RANK_OK(ncclGroupStart());
  for (int r = 0; r < kRanks; ++r) RANK_OK(ncclCommInitRank(&comms[r], kRanks, id, r));
  RANK_OK(ncclGroupEnd());
  std::vector<int32_t> data(kRanks, 5);
  RANK_OK(ncclGroupStart());
  for (int r = 0; r < kRanks; ++r) {
    RANK_OK(ncclAllReduce(&data[r], &data[r], 1, ncclInt32, ncclSum, comms[r], nullptr));
  }
  RANK_OK(ncclGroupEnd());
  for (int32_t v : data) RANK_EQ(v, 15);
  for (ncclComm_t comm : comms) RANK_OK(ncclCommDestroy(comm));
}

class Groups : public RankSuite {};

TEST_P(Groups, AllToAllVBySendsAndReceivesGivesEachItsPart) {
  for (int size : {1, 2, 4, 5}) pass("AllToAllV", size);
}
TEST_P(Groups, ReceivesBeforeSendsInAnyOrderComplete) { pass("ReceivesFirst", 4); }
TEST_P(Groups, MessagesOfOnePairMeetInOrder) {
  for (int size : {1, 2, 3}) pass("OrderOfMessages", size);
}
TEST_P(Groups, SendAndReceiveOutsideAGroupMakeAPipeline) { pass("Pipeline", 4); }
TEST_P(Groups, CollectivesAndMessagesMixInOneGroup) {
  for (int size : {1, 2, 3}) pass("MixedGroup", size);
}
TEST_P(Groups, NothingRunsBeforeTheOutermostEnd) { pass("NestedGroup", 3); }
TEST_P(Groups, BadCallFailsTheGroupAndNothingOfItRuns) { pass("BadCallInGroup", 2); }
TEST_P(Groups, SimulateEndRunsNothingAndEstimates) { pass("SimulatedGroup", 2); }
TEST_P(Groups, EstimatesGrowWithTheBytesAndSumUp) {
  for (int size : {1, 2, 4}) pass("EstimatedGroup", size);
  for (const char* hosts : {"01", "0011"}) {
    RunOptions o;
    o.size = static_cast<int>(strlen(hosts));
    o.how = GetParam();
    o.hosts = hosts;
    expectRanksPass("EstimatedGroup", o);
  }
}
TEST_P(Groups, TwoCommunicatorsInOneGroupBothComplete) { pass("TwoCommunicators", 3); }
TEST_P(Groups, WorkOnSeveralStreamsInOneGroupCompletesOnEach) { pass("SeveralStreamsInAGroup", 2); }

INSTANTIATE_TEST_SUITE_P(Ranks, Groups,
                         ::testing::Values(How::kThreads, How::kProcesses, How::kMixed),
                         [](const auto& info) { return howName(info.param); });

TEST(GroupsOfOneThread, AllRanksOfInitAllRunInOneThread) {
  RunOptions o;
  o.size = 1;
  expectRanksPass("InitAllInOneThread", o);
}

TEST(GroupsOfOneThread, InitRankForEachRankInOneGroupMakesTheCommunicator) {
  RunOptions o;
  o.size = 1;
  expectRanksPass("InitRanksInAGroup", o);
}

TEST(GroupsOfOneThread, EndWithoutStartIsInvalidUsage) {
  RunOptions o;
  o.size = 1;
  expectRanksPass("EmptyGroup", o);
}

}  // namespace
}  // namespace ranktest
