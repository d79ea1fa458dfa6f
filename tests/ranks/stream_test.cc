// SPDX-License-Identifier: Apache-2.0
// Host streams: order, asynchrony, tickets, dependencies between streams; reduction operators whose
// life is shorter than their use.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/rank_run.h"
#include "support/rank_suite.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

RANK_BODY(StreamIsAsynchronous) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  std::vector<int32_t> data(100'000, 1);
  ctx.barrier();
  if (ctx.rank == 0) {
    const double seconds = timed([&] {
      RANK_OK(
          ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, stream));
    });
    RANK_TRUE_MSG(seconds < 0.3, seconds);  // the peer comes only after flag 1
    RANK_IS(flexlinkStreamQuery(stream), ncclInProgress);
    uint64_t ticket = 0;
    RANK_OK(flexlinkStreamRecord(stream, &ticket));
    RANK_TRUE(ticket > 0);
    RANK_IS(flexlinkStreamWait(stream, ticket, 0), ncclInProgress);
    ncclResult_t waited = ncclSuccess;
    const double wait = timed([&] { waited = flexlinkStreamWait(stream, ticket, 100'000); });
    RANK_EQ(waited, ncclInProgress);
    RANK_TRUE_MSG(wait >= 0.09 && wait < 1.0 * kSlowdown, wait);
    ctx.set(1);
    RANK_OK(flexlinkStreamWait(stream, ticket, -1));
    RANK_OK(flexlinkStreamQuery(stream));
  } else {
    ctx.wait(1);
    RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, stream));
    stream.sync();
  }
  for (int32_t x : data) RANK_EQ(x, ctx.size);
  comm.destroy();
}

// Each operation reads what the one before it wrote.
RANK_BODY(StreamKeepsOrder) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  std::vector<int64_t> data(20'000, 1);
  constexpr int kSteps = 12;
  for (int i = 0; i < kSteps; ++i) {
    RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt64, ncclSum, comm, stream));
  }
  stream.sync();
  int64_t expected = 1;
  for (int i = 0; i < kSteps; ++i) expected *= ctx.size;
  for (int64_t x : data) RANK_EQ(x, expected);
  comm.destroy();
}

// Work on NULL comes behind nothing of a stream, but tickets order two streams.
RANK_BODY(StreamWaitsForStream) {
  Comm comm = makeWorld(ctx);
  Stream first;
  Stream second;
  std::vector<int32_t> data(200'000, 1);
  uint64_t ticket = 0;
  for (int round = 0; round < 5; ++round) {
    data.assign(data.size(), 1);
    RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, first));
    RANK_OK(flexlinkStreamRecord(first, &ticket));
    RANK_OK(flexlinkStreamWaitStream(second, first, ticket));
    RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, second));
    second.sync();
    for (int32_t x : data) RANK_EQ(x, ctx.size * ctx.size);
  }
  comm.destroy();
}

RANK_BODY(TicketsGrowByOne) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  uint64_t before = 0;
  uint64_t after = 0;
  int32_t x = 1;
  RANK_OK(flexlinkStreamRecord(stream, &before));
  RANK_OK(ncclAllReduce(&x, &x, 1, ncclInt32, ncclMax, comm, stream));
  RANK_OK(ncclAllReduce(&x, &x, 1, ncclInt32, ncclMax, comm, stream));
  RANK_OK(flexlinkStreamRecord(stream, &after));
  RANK_EQ(after, before + 2);
  RANK_OK(flexlinkStreamWait(stream, before, -1));
  RANK_OK(flexlinkStreamWait(stream, after, -1));
  RANK_IS(flexlinkStreamRecord(stream, nullptr), ncclInvalidArgument);
  comm.destroy();
}

// Many small operations without a wait between: the queue must hold or push back, never lose.
RANK_BODY(ThousandsInFlight) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  constexpr int kOps = 3000;
  std::vector<int32_t> data(kOps);
  for (int i = 0; i < kOps; ++i) data[i] = i;
  for (int i = 0; i < kOps; ++i) {
    RANK_OK(ncclAllReduce(&data[i], &data[i], 1, ncclInt32, ncclSum, comm, stream));
  }
  stream.sync();
  for (int i = 0; i < kOps; ++i) RANK_EQ(data[i], i * ctx.size);
  comm.destroy();
}

RANK_BODY(LargeGroup) {
  Comm comm = makeWorld(ctx);
  constexpr int kOps = 1500;
  std::vector<int32_t> data(kOps);
  for (int i = 0; i < kOps; ++i) data[i] = i;
  RANK_OK(ncclGroupStart());
  for (int i = 0; i < kOps; ++i) {
    RANK_OK(ncclAllReduce(&data[i], &data[i], 1, ncclInt32, ncclSum, comm, nullptr));
  }
  RANK_OK(ncclGroupEnd());
  for (int i = 0; i < kOps; ++i) RANK_EQ(data[i], i * ctx.size);
  comm.destroy();
}

// A communicator and a stream go from thread to thread, one at a time.
RANK_BODY(HandsFromThreadToThread) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  std::vector<int32_t> data(50'000, 1);
  for (int round = 0; round < 10; ++round) {
    ncclResult_t results[2] = {ncclInternalError, ncclInternalError};
    std::thread([&] {
      results[0] = ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclMax, comm,
                                 round % 3 == 0 ? nullptr : static_cast<cudaStream_t>(stream));
    }).join();
    std::thread([&] { results[1] = flexlinkStreamSynchronize(stream); }).join();
    RANK_OK(results[0]);
    RANK_OK(results[1]);
    for (int32_t x : data) RANK_EQ(x, 1);
  }
  comm.destroy();
}

// Two threads of one rank, each with a communicator of its own, at the same time.
RANK_BODY(OneThreadForEachCommunicator) {
  Comm comms[2] = {makeWorld(ctx, 0), makeWorld(ctx, 1)};
  std::string failures[2];
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 200; ++round) {
        std::vector<int32_t> data(round % 5 == 0 ? 60'000 : 3, t + 1);
        const ncclResult_t result = ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32,
                                                  ncclSum, comms[t], nullptr);
        const bool exact = std::all_of(data.begin(), data.end(),
                                       [&](int32_t x) { return x == (t + 1) * ctx.size; });
        if (result == ncclSuccess && exact) continue;
        failures[t] = resultName(result) + (exact ? "" : ", wrong sum");
        return;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  RANK_EQ(failures[0], "");
  RANK_EQ(failures[1], "");
  comms[0].destroy();
  comms[1].destroy();
}

RANK_BODY(OperatorDiesBeforeTheWorkRuns) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  std::vector<float> a(5000, 1);
  std::vector<float> b(5000, 1);
  ncclRedOp_t op{};
  float scalar = static_cast<float>(ctx.rank + 1);
  RANK_OK(ncclRedOpCreatePreMulSum(&op, &scalar, ncclFloat32, ncclScalarHostImmediate, comm));
  scalar = 1000;  // immediate: read at Create
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclAllReduce(a.data(), a.data(), a.size(), ncclFloat32, op, comm, stream));
  RANK_OK(ncclRedOpDestroy(op, comm));
  // A new operator may get the number of the dead one: the first call keeps its own scalar.
  float other = 10;
  RANK_OK(ncclRedOpCreatePreMulSum(&op, &other, ncclFloat32, ncclScalarHostImmediate, comm));
  RANK_OK(ncclAllReduce(b.data(), b.data(), b.size(), ncclFloat32, op, comm, stream));
  RANK_OK(ncclRedOpDestroy(op, comm));
  RANK_OK(ncclGroupEnd());
  stream.sync();
  const float sum = static_cast<float>(ctx.size * (ctx.size + 1)) / 2;
  for (float x : a) RANK_EQ(x, sum);
  for (float x : b) RANK_EQ(x, 10.0F * static_cast<float>(ctx.size));
  comm.destroy();
}

RANK_BODY(ScalarReadAtEachOperation) {
  Comm comm = makeWorld(ctx);
  ncclRedOp_t op{};
  auto scalar = static_cast<int32_t>(ctx.rank + 1);
  RANK_OK(ncclRedOpCreatePreMulSum(&op, &scalar, ncclInt32, ncclScalarDevice, comm));
  for (int32_t factor : {1, 2, -3}) {
    scalar = (ctx.rank + 1) * factor;
    std::vector<int32_t> data(100, 2);
    RANK_OK(ncclAllReduce(data.data(), data.data(), 100, ncclInt32, op, comm, nullptr));
    for (int32_t x : data) RANK_EQ(x, ctx.size * (ctx.size + 1) * factor);
  }
  RANK_OK(ncclRedOpDestroy(op, comm));
  comm.destroy();
}

class Streams : public RankSuite {};

TEST_P(Streams, CallReturnsBeforeThePeerCome) { pass("StreamIsAsynchronous", 2); }
TEST_P(Streams, OperationsRunInTheOrderOfTheCalls) {
  for (int size : {1, 2, 3}) pass("StreamKeepsOrder", size);
}
TEST_P(Streams, TicketOrdersTwoStreams) { pass("StreamWaitsForStream", 2); }
TEST_P(Streams, TicketsGrowByOneForEachOperation) { pass("TicketsGrowByOne", 2); }
TEST_P(Streams, ThousandsOfOperationsInFlightAllComplete) { pass("ThousandsInFlight", 3); }
TEST_P(Streams, PassFromThreadToThread) { pass("HandsFromThreadToThread", 2); }
TEST_P(Streams, ThreadsWithACommunicatorEachDoNotDisturbEachOther) {
  pass("OneThreadForEachCommunicator", 2);
}
TEST_P(Streams, GroupOfManyOperationsCompletes) { pass("LargeGroup", 2); }
TEST_P(Streams, OperatorMayBeDestroyedBeforeItsWorkRuns) {
  for (int size : {1, 3}) pass("OperatorDiesBeforeTheWorkRuns", size);
}
TEST_P(Streams, DeviceScalarIsReadAtEachOperation) { pass("ScalarReadAtEachOperation", 2); }

INSTANTIATE_TEST_SUITE_P(Ranks, Streams,
                         ::testing::Values(How::kThreads, How::kProcesses, How::kMixed),
                         [](const auto& info) { return howName(info.param); });

}  // namespace
}  // namespace ranktest
