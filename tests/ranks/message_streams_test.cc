// SPDX-License-Identifier: Apache-2.0
// Sends and receives of one communicator on different streams: each pair of ranks has an order in
// each direction, and beyond that none waits for another. Collectives are in order with all.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/collective_case.h"
#include "support/gpu.h"
#include "support/numbers.h"
#include "support/rank_run.h"
#include "support/rank_suite.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

constexpr int kAnswer = 1;                                // flags
constexpr int kReady = 2;                                 // + rank
constexpr size_t kCounts[] = {1, 1024, 37'500, 393'216};  // 8 B, 8 KiB, 300 KiB, 3 MiB

using Longs = std::vector<int64_t>;

void send(const Longs& data, int peer, ncclComm_t comm, cudaStream_t stream) {
  RANK_OK(ncclSend(data.data(), data.size(), ncclInt64, peer, comm, stream));
}
void receive(Longs& data, int peer, ncclComm_t comm, cudaStream_t stream) {
  RANK_OK(ncclRecv(data.data(), data.size(), ncclInt64, peer, comm, stream));
}
void addUp(Longs& data, ncclComm_t comm, cudaStream_t stream) {
  RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt64, ncclSum, comm, stream));
}

void isAll(const Longs& data, int64_t value) {
  for (int64_t x : data) RANK_EQ(x, value);
}

// Rank 1 answers rank 0 last. Before, all else comes and goes: on streams and off.
RANK_BODY(AnsweredLast) {
  Comm comm = makeWorld(ctx);
  Stream late;
  Stream out;
  Stream in;
  const int last = ctx.size - 1;
  for (size_t count : kCounts) {
    Longs wanted(count, -1);
    Longs mine(count, ctx.rank);
    Longs got(count, -1);
    if (ctx.rank == 0) {
      receive(wanted, 1, comm, late);
      for (int round = 0; round < 3; ++round) {
        send(mine, 1, comm, out);
        out.sync();
        if (last == 1) continue;
        send(mine, last, comm, nullptr);
        receive(got, last, comm, in);
        in.sync();
        isAll(got, last);
      }
      RANK_IS(flexlinkStreamQuery(late), ncclInProgress);
      ctx.set(kAnswer, static_cast<uint32_t>(count));
      late.sync();
      isAll(wanted, 1);
    } else if (ctx.rank == 1 || ctx.rank == last) {
      for (int round = 0; round < 3; ++round) {
        receive(got, 0, comm, in);
        in.sync();
        isAll(got, 0);
        if (ctx.rank != 1) send(mine, 0, comm, nullptr);
      }
      while (ctx.wait(kAnswer) != count) usleep(200);
      if (ctx.rank == 1) send(mine, 0, comm, nullptr);
    }
    ctx.barrier();
  }
  comm.destroy();
}

// Both ranks receive first: on one stream that would be for ever.
RANK_BODY(OppositeOrders) {
  Comm comm = makeWorld(ctx);
  Stream streams[4];
  const int peer = 1 - ctx.rank;
  for (size_t count : kCounts) {
    const Longs out(count, ctx.rank);
    Longs in(count, -1);
    Longs own(count, -1);
    for (int round = 0; round < 10; ++round) {
      const bool receivesFirst = round % 2 == 0 || (round % 4 == 1) == (ctx.rank == 0);
      if (receivesFirst) receive(in, peer, comm, streams[0]);
      receive(own, ctx.rank, comm, streams[2]);
      send(out, peer, comm, streams[1]);
      send(out, ctx.rank, comm, streams[3]);
      if (!receivesFirst) receive(in, peer, comm, streams[0]);
      for (const Stream& stream : streams) stream.sync();
      isAll(in, peer);
      isAll(own, ctx.rank);
    }
  }
  comm.destroy();
}

// A message's place among those from one rank to another says what is in it.
int64_t letter(int from, int to, int number) { return (from * 64 + to) * 1000 + number; }
size_t letterCount(int from, int to, int number) {
  return kCounts[static_cast<size_t>(from * 3 + to * 5 + number * 7) % 4];
}

struct Way {
  int peer;
  bool sends;
  int number = 0;
  std::unique_ptr<Stream> stream = std::make_unique<Stream>();
};

// All pairs, in an order that each rank makes up for itself; "one": a stream for each way, "many":
// each message on any of several streams.
RANK_BODY(AllPairs) {
  Comm comm = makeWorld(ctx);
  constexpr int kMessages = 5;
  std::mt19937_64 random(testSeed() + static_cast<uint64_t>(ctx.rank));
  std::vector<Stream> streams(3);
  std::vector<Way> ways;
  std::vector<size_t> order;
  for (int peer = 0; peer < ctx.size; ++peer) {
    for (bool sends : {true, false}) {
      order.insert(order.end(), kMessages, ways.size());
      ways.push_back({peer, sends});
    }
  }
  for (int round = 0; round < 3; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    std::deque<std::pair<Longs, int64_t>> letters;
    for (size_t at : order) {
      Way& way = ways[at];
      const int from = way.sends ? ctx.rank : way.peer, to = way.sends ? way.peer : ctx.rank;
      const int64_t value = letter(from, to, way.number);
      const size_t count = letterCount(from, to, way.number++);
      Longs& data = letters.emplace_back(Longs(count, way.sends ? value : -1), value).first;
      const bool shared = ctx.args == "many" && !way.sends;
      cudaStream_t stream = shared ? streams[random() % streams.size()] : *way.stream;
      way.sends ? send(data, way.peer, comm, stream) : receive(data, way.peer, comm, stream);
    }
    for (const Way& way : ways) way.stream->sync();
    for (const Stream& stream : streams) stream.sync();
    for (const auto& [data, value] : letters) isAll(data, value);
  }
  comm.destroy();
}

// The collective takes what the receive before it brings, and the send behind it takes the result,
// although no stream says so.
RANK_BODY(CollectiveBetween) {
  Comm comm = makeWorld(ctx);
  Stream in;
  Stream all;
  Stream out;
  const int left = (ctx.rank + ctx.size - 1) % ctx.size;
  const int right = (ctx.rank + 1) % ctx.size;
  for (int round = 0; round < 12; ++round) {
    const size_t count = kCounts[round % 4];
    const Longs mine(count, ctx.rank + 1);
    Longs data(count, 1000);
    Longs back(count, -1);
    send(mine, right, comm, out);
    receive(data, left, comm, in);
    addUp(data, comm, all);
    receive(back, left, comm, in);
    send(data, right, comm, out);
    for (const Stream* stream : {&in, &all, &out}) stream->sync();
    isAll(data, ctx.size * (ctx.size + 1) / 2);
    isAll(back, ctx.size * (ctx.size + 1) / 2);
  }
  comm.destroy();
}

// Rank 0 has a receive that rank 1 never answers, beside messages that come and go; it learns of
// the end: by death, or ("timeout") by its own patience.
RANK_BODY(NobodyAnswers) {
  Comm comm = makeWorld(ctx);
  Stream late;
  Stream busy;
  const int other = 2 - ctx.rank;
  Longs in(1000, 0);
  Longs out(1000, 0);
  Longs wanted(1000, 0);
  if (ctx.rank == 0) receive(wanted, 1, comm, late);
  ctx.set(kReady + ctx.rank);
  if (ctx.rank == 1) {
    while (ctx.args != "timeout") pause();
    ctx.wait(kAnswer);
    return;
  }
  ncclResult_t result = ncclSuccess;
  const double seconds = timed([&] {
    while (result == ncclSuccess) {
      result = ncclSend(out.data(), out.size(), ncclInt64, other, comm, busy);
      if (result == ncclSuccess)
        result = ncclRecv(in.data(), in.size(), ncclInt64, other, comm, busy);
      if (result == ncclSuccess) result = flexlinkStreamSynchronize(busy);
    }
  });
  const std::string text = lastError(comm);
  RANK_TRUE_MSG(seconds < 4 * kSlowdown, seconds);
  if (ctx.rank == 0) {
    RANK_EQ(result, ctx.args == "timeout" ? ncclTimeout : ncclRemoteError);
    RANK_EQ(flexlinkStreamSynchronize(late), result);
    ncclResult_t state = ncclSuccess;
    RANK_OK(ncclCommGetAsyncError(comm, &state));
    RANK_EQ(state, result);
    RANK_MENTIONS(text, "rank 1");
    ctx.set(kAnswer);
  }
  comm.abort();
}

class MessageStreams : public RankSuite {};

TEST_P(MessageStreams, AReceiveThatIsAnsweredLastHoldsUpNothing) {
  pass("AnsweredLast", 2);
  pass("AnsweredLast", 3);
  for (const char* hosts : {"01", "001", "012"}) {
    pass("AnsweredLast", hosts[2] == '\0' ? 2 : 3, "", hosts);
  }
}
TEST_P(MessageStreams, ReceivesMayComeFirstOnBothSides) {
  pass("OppositeOrders", 2);
  pass("OppositeOrders", 2, "", "01");
}
TEST_P(MessageStreams, AllPairsInAnyOrderGetTheirOwn) {
  for (const char* hosts : {"", "0011", "0123"}) {
    pass("AllPairs", 4, "one", hosts);
    pass("AllPairs", 4, "many", hosts);
  }
}
TEST_P(MessageStreams, CollectivesAreInOrderWithMessages) {
  for (const char* hosts : {"", "001", "012"}) pass("CollectiveBetween", 3, "", hosts);
}

INSTANTIATE_TEST_SUITE_P(Ranks, MessageStreams,
                         ::testing::Values(How::kThreads, How::kProcesses, How::kMixed),
                         [](const auto& info) { return howName(info.param); });

TEST(MessageStreamsWait, ADeadPeerEndsAllThoughOthersAreBusy) {
  for (const char* hosts : {"", "010", "012"}) {
    RunOptions o;
    o.size = 3;
    o.hosts = hosts;
    o.mayDie = {1};
    RankRun run("NobodyAnswers", o);
    run.start();
    for (int rank = 0; rank < 3; ++rank) ASSERT_TRUE(run.waitFlag(kReady + rank, 30));
    usleep(100'000);
    run.signalRank(1, SIGKILL);
    const Outcome outcome = run.finish();
    EXPECT_TRUE(outcome.ok()) << outcome.report();
  }
}

TEST(MessageStreamsWait, TheTimeLimitIsOfTheOneThatWaitsLongest) {
  for (const char* hosts : {"", "010", "012"}) {
    RunOptions o;
    o.size = 3;
    o.hosts = hosts;
    o.args = "timeout";
    o.env = {"FLEXLINK_TIMEOUT=1"};
    expectRanksPass("NobodyAnswers", o);
  }
}

// Rank 1 has left: what waits for it ends by itself, on a stream and in a call that blocks, and the
// communicator goes on.
RANK_BODY(SomebodyHasLeft) {
  Comm comm = makeWorld(ctx);
  Longs first(1000, ctx.rank), got(1000, -1), never(1000, -1), later(100'000, ctx.rank);
  if (ctx.rank == 1) {
    send(first, 0, comm, nullptr);
    RANK_OK(flexlinkCommLeave(comm.release()));
    ctx.wait(kAnswer);
    return;
  }
  if (ctx.rank == 0) {
    Stream gone, others;
    Longs large(100'000, -1);
    receive(large, 2, comm, others);
    receive(got, 1, comm, gone);
    receive(never, 1, comm, gone);
    uint64_t last = 0;
    RANK_OK(flexlinkStreamRecord(gone, &last));
    RANK_IS(flexlinkStreamWait(gone, last, 20'000'000), ncclRemoteError);
    RANK_MENTIONS(lastError(nullptr), "rank 1", "has left");
    isAll(got, 1);
    isAll(never, -1);
    RANK_IS(ncclRecv(never.data(), never.size(), ncclInt64, 1, comm, nullptr), ncclRemoteError);
    RANK_MENTIONS(lastError(comm), "rank 1", "has left");
    ncclResult_t async = ncclInternalError;
    RANK_OK(ncclCommGetAsyncError(comm, &async));
    RANK_EQ(async, ncclSuccess);
    ctx.set(kAnswer);
    others.sync();
    isAll(large, 2);
    send(later, 2, comm, nullptr);
  } else {
    ctx.wait(kAnswer);
    send(later, 0, comm, nullptr);
    receive(later, 0, comm, nullptr);
    isAll(later, 0);
  }
  RANK_OK(flexlinkCommLeave(comm.release()));
}

// Where no stream tells the program, the communicator does: stream NULL of one that does not block,
// and streams of a GPU.
RANK_BODY(NobodyHearsButTheCommunicator) {
  const ncclUniqueId id = ctx.id();
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = ctx.args == "gpu" ? 1 : 0;
  Comm comm;
  const ncclResult_t begun = ncclCommInitRankConfig(comm.put(), ctx.size, id, ctx.rank, &config);
  RANK_TRUE(begun == ncclSuccess || begun == ncclInProgress);
  RANK_EQ(pollAsync(comm, 20), ncclSuccess);
  ctx.barrier();
  if (ctx.rank == 1) {
    RANK_OK(flexlinkCommLeave(comm.release()));
    return ctx.set(kAnswer);
  }
  Numbers x(1000);
  cudaStream_t stream = ctx.args == "gpu" ? Gpu::perThread() : nullptr;
  const ncclResult_t enqueued = ncclRecv(x.at(), x.count(), ncclInt32, 1, comm, stream);
  RANK_TRUE(enqueued == ncclSuccess || enqueued == ncclInProgress);
  if (ctx.args == "gpu") Gpu::use()->synchronize(stream);
  RANK_EQ(pollAsync(comm, 20), ncclRemoteError);
  RANK_MENTIONS(lastError(comm), "rank 1", "has left");
  comm.abort();
}

TEST(MessageStreams, WhereNoStreamTellsOfAnErrorTheCommunicatorDoes) {
  for (const char* hosts : {"", "01"}) {
    RunOptions o;
    o.hosts = hosts;
    o.args = "host";
    expectRanksPass("NobodyHearsButTheCommunicator", o);
    o.args = "gpu";
    o.env = gpuEnv();
    expectRanksPass("NobodyHearsButTheCommunicator", o);
  }
}

TEST(MessageStreams, WhoHasLeftHoldsUpNobodyElse) {
  for (const char* hosts : {"", "012", "001", "010"}) {
    RunOptions o;
    o.size = 3;
    o.hosts = hosts;
    SCOPED_TRACE(hosts);
    expectRanksPass("SomebodyHasLeft", o);
  }
  RunOptions threads;
  threads.size = 3;
  threads.how = How::kThreads;
  expectRanksPass("SomebodyHasLeft", threads);
}

}  // namespace
}  // namespace ranktest
