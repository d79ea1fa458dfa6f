// SPDX-License-Identifier: Apache-2.0
// Lanes of ours beside the vendor in pass-through, for which a second copy of this library stands
// in: calls are cut between the two, exactly, or fail on all ranks.
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "comm/passed_comms.h"
#include "flexlink/flexlink.h"
#include "ranks/side_support.h"
#include "support/check.h"
#include "support/collective_case.h"
#include "support/rank_run.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

RANK_BODY(CutCases) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm comm = cutWorld(ctx, reader);
  const uint64_t before = carried(reader, ctx.rank).operations;
  Stream stream;
  CaseRunner runner(comm, ctx.rank, ctx.size, size_t{3} << 20);
  for (int i = 0; i < 60; ++i) {
    const Case c = drawCase(testSeed(), 60'000'000 + static_cast<uint64_t>(i), ctx.size, 1 << 20);
    ctx.at("FLEXLINK_TEST_SEED=%llu case %d", static_cast<unsigned long long>(testSeed()), i);
    runner.run(c, i % 2 == 0 ? nullptr : static_cast<cudaStream_t>(stream));
  }
  RANK_TRUE(carried(reader, ctx.rank).operations > before + 5);
  comm.destroy();
}

// Of every kind, in a group and behind each other on a stream.
RANK_BODY(CutBatches) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm comm = cutWorld(ctx, reader);
  Stream stream;
  constexpr uint64_t kBatch = 12;
  CaseRunner runner(comm, ctx.rank, ctx.size, 3 * kBatch * (size_t{128} << 10));
  for (uint64_t i = 0; i < static_cast<uint64_t>(inReach(6)); ++i) {
    if (i % 2 == 1) RANK_OK(ncclGroupStart());
    for (uint64_t k = i * kBatch; k < (i + 1) * kBatch; ++k) {
      runner.issue(drawCase(testSeed(), 70'000'000 + k, ctx.size, 128 << 10), stream);
    }
    if (i % 2 == 1) RANK_OK(ncclGroupEnd());
    stream.sync();
    runner.verifyAll();
  }
  comm.destroy();
}

// What is to be sent is there only when the stream comes to the call.
RANK_BODY(CutCallsWaitForTheirStream) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm comm = cutWorld(ctx, reader);
  Stream stream;
  uint64_t gate = 0;
  std::vector<int32_t> in(5000, -1), out(5000, -1);
  RANK_OK(flexlinkStreamWaitValue64(stream, &gate, 1));
  RANK_OK(ncclAllReduce(in.data(), out.data(), in.size(), ncclInt32, ncclSum, comm, stream));
  usleep(50'000);
  std::fill(in.begin(), in.end(), ctx.rank + 1);
  std::atomic_ref<uint64_t>(gate).store(1, std::memory_order_release);
  stream.sync();
  for (int32_t element : out) RANK_EQ(element, ctx.size * (ctx.size + 1) / 2);
  comm.destroy();
}

// Half of the bytes of each rank's block, in each kind of call.
RANK_BODY(EachKindIsCut) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm comm = cutWorld(ctx, reader);
  CaseRunner runner(comm, ctx.rank, ctx.size, size_t{8} << 20);
  for (Coll coll : {Coll::kAllReduce, Coll::kBroadcast, Coll::kBcast, Coll::kReduce,
                    Coll::kAllGather, Coll::kReduceScatter}) {
    const uint64_t before = carried(reader, ctx.rank).operations;
    Case c;
    c.coll = coll;
    c.count = 100'000;
    c.inPlace = coll == Coll::kBcast;
    runner.run(c, nullptr);
    RANK_EQ(carried(reader, ctx.rank).operations, before + 1);
    ncclResult_t none = ncclSuccess;
    RANK_OK(ncclCommGetAsyncError(comm, &none));
    RANK_EQ(none, ncclSuccess);
  }
  comm.destroy();
}

// Two communicators on two streams in one group, and one that waits for the other.
RANK_BODY(CutOnTwoCommunicators) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm first = makeWorld(ctx, 0);
  Comm second = makeWorld(ctx, 1);
  awaitCut(reader, first, ctx.rank);
  ctx.barrier();
  for (int round = 0; round < 500; ++round) {  // the second's shares come a little later
    std::vector<int32_t> some(1000, 1);
    RANK_OK(
        ncclAllReduce(some.data(), some.data(), some.size(), ncclInt32, ncclMax, second, nullptr));
  }
  Stream one, two;
  std::vector<int32_t> a(50'000), b(50'000), c(50'000);
  for (int round = 0; round < inReach(40); ++round) {
    std::fill(a.begin(), a.end(), ctx.rank + round);
    std::fill(b.begin(), b.end(), ctx.rank + 2 * round);
    RANK_OK(ncclGroupStart());
    RANK_OK(ncclAllReduce(a.data(), a.data(), a.size(), ncclInt32, ncclSum, first, one));
    RANK_OK(ncclAllReduce(b.data(), b.data(), b.size(), ncclInt32, ncclSum, second, two));
    RANK_OK(ncclGroupEnd());
    uint64_t ticket = 0;
    RANK_OK(flexlinkStreamRecord(one, &ticket));
    RANK_OK(flexlinkStreamWaitStream(two, one, ticket));
    RANK_OK(ncclAllReduce(a.data(), c.data(), a.size(), ncclInt32, ncclMax, second, two));
    two.sync();
    const int32_t ranks = ctx.size * (ctx.size - 1) / 2;
    for (size_t i = 0; i < a.size(); ++i) {
      RANK_EQ(a[i], ranks + ctx.size * round);
      RANK_EQ(b[i], ranks + 2 * ctx.size * round);
      RANK_EQ(c[i], a[i]);
    }
  }
  first.destroy();
  second.destroy();
}

Comm splitOff(ncclComm_t from, int colour, int key, const char* name) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.commName = name;
  Comm child;
  RANK_OK(ncclCommSplit(from, colour, key, child.put(), &config));
  return child;
}

// Children, theirs, and what is left when one goes.
RANK_BODY(ChildrenAreCut) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm world = cutWorld(ctx, reader);
  Comm half = splitOff(world, ctx.rank % 2, ctx.rank, "half");
  awaitCut(reader, half, ctx.rank / 2, "half side");
  Comm turned = splitOff(world, 0, -ctx.rank, "turned");
  awaitCut(reader, turned, ctx.size - 1 - ctx.rank, "turned side");
  Comm pair = splitOff(turned, ctx.rank / 2, ctx.rank, "pair");
  awaitCut(reader, pair, ctx.rank % 2, "pair side");
  {
    CaseRunner runner(pair, ctx.rank % 2, 2, size_t{3} << 20);
    for (uint64_t i = 0; i < 20; ++i) {
      runner.run(drawCase(testSeed(), 61'000'000 + i, 2, 1 << 20), nullptr);
    }
  }
  if (ctx.rank < 3) {
    int gone = 3;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.commName = "few";
    Comm few;
    RANK_OK(ncclCommShrink(world, &gone, 1, few.put(), &config, NCCL_SHRINK_DEFAULT));
    awaitCut(reader, few, ctx.rank, "few side");
    few.destroy();
  }
  ctx.barrier();
  for (Comm* each : {&pair, &turned, &half, &world}) each->destroy();
}

// Every rank makes the same id: where our ranks meet does not travel in it.
RANK_BODY(CutAtCommId) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  ncclUniqueId id;
  RANK_OK(ncclGetUniqueId(&id));
  for (int round = 0; round < 2; ++round) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.commName = round == 0 ? "first" : "second";
    Comm comm;
    RANK_OK(ncclCommInitRankConfig(comm.put(), ctx.size, id, ctx.rank, &config));
    awaitCut(reader, comm, ctx.rank, round == 0 ? "first side" : "second side");
    comm.destroy();
  }
}

// All ranks in one thread.
RANK_BODY(InitAllIsCut) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  constexpr int kRanks = 3;
  ncclComm_t comms[kRanks];
  RANK_OK(ncclCommInitAll(comms, kRanks, nullptr));
  std::vector<std::vector<int32_t>> data(kRanks, std::vector<int32_t>(3000));
  for (int round = 0; carried(reader, 0).operations < 10; ++round) {
    RANK_TRUE_MSG(round < 20'000, "our lane carries nothing");
    RANK_OK(ncclGroupStart());
    for (int rank = 0; rank < kRanks; ++rank) {
      auto& mine = data[static_cast<size_t>(rank)];
      std::fill(mine.begin(), mine.end(), rank + round);
      RANK_OK(ncclAllReduce(mine.data(), mine.data(), mine.size(), ncclInt32, ncclSum, comms[rank],
                            nullptr));
    }
    RANK_OK(ncclGroupEnd());
    for (const auto& mine : data) {
      for (int32_t each : mine) RANK_EQ(each, 3 * round + 3);
    }
  }
  for (ncclComm_t comm : comms) RANK_OK(ncclCommDestroy(comm));
}

RANK_BODY(CutWithoutBlocking) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.commName = "loose";
  Comm comm;
  ncclResult_t made = ncclCommInitRankConfig(comm.put(), ctx.size, ctx.id(), ctx.rank, &config);
  RANK_TRUE(made == ncclSuccess || made == ncclInProgress);
  RANK_EQ(pollAsync(comm, 20), ncclSuccess);
  Stream stream;
  std::vector<int32_t> data(20'000);
  for (int round = 0;; ++round) {
    RANK_TRUE_MSG(round < 20'000, "our lane carries nothing");
    const int32_t seen = carried(reader, ctx.rank, "loose side").operations > 3 ? 1 : 0;
    std::fill(data.begin(), data.end(), seen);
    cudaStream_t at = round % 2 == 0 ? nullptr : static_cast<cudaStream_t>(stream);
    ncclResult_t called =
        ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclMin, comm, at);
    RANK_TRUE(called == ncclSuccess || called == ncclInProgress);
    RANK_EQ(pollAsync(comm, 20), ncclSuccess);
    if (at != nullptr) stream.sync();
    RANK_EQ(data[0], data[19'999]);
    if (data[0] == 1) break;
  }
  comm.destroy();
}

// Rank 1 has no lanes of its own. No call waits until that is known.
RANK_BODY(OneRankWithoutLanes) {
  if (ctx.rank == 1) unsetenv("FLEXLINK_LANES");
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm comm = makeWorld(ctx);
  double longest = 0;
  for (int round = 0; round < 110; ++round) {
    std::vector<int32_t> data(1000, round);
    longest = std::max(longest, timed([&] {
                         RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32,
                                               ncclSum, comm, nullptr));
                       }));
    RANK_EQ(data[999], round * ctx.size);
    usleep(50'000);
  }
  RANK_TRUE_MSG(longest < 2 * kSlowdown, longest);
  RANK_EQ(carried(reader, ctx.rank).operations, uint64_t{0});
  comm.destroy();
}

// Our lane on rank 1 fails at some time: until then every element is right, from then on every call
// on every rank fails.
RANK_BODY(OurLaneFails) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm comm = cutWorld(ctx, reader);
  std::thread failing;
  if (ctx.rank == 1) {
    failing = std::thread([&] {
      usleep(static_cast<useconds_t>(std::stoi(ctx.args)));
      flexlink::sideOf(comm)->giveUp(
          flexlink::makeStatus(flexlink::Code::kSystem, "a fault of the test"));
    });
  }
  ncclResult_t failed = ncclSuccess;
  for (int round = 0; failed == ncclSuccess && round < 1'000'000; ++round) {
    std::vector<int32_t> data(5000, round);
    failed =
        ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, nullptr);
    for (size_t i = 0; failed == ncclSuccess && i < data.size(); ++i) {
      RANK_EQ(data[i], round * ctx.size);
    }
  }
  const std::string text = lastError(comm);
  if (failing.joinable()) failing.join();
  RANK_MENTIONS(text, "a fault of the test");
  RANK_TRUE_MSG(failed == (ctx.rank == 1 ? ncclSystemError : ncclRemoteError), text.c_str());
  ncclResult_t async = ncclSuccess;
  RANK_OK(ncclCommGetAsyncError(comm, &async));
  RANK_EQ(async, failed);
  int32_t x = 0;
  RANK_IS(ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, comm, nullptr), failed);
  RANK_TRUE(timed([&] { comm.abort(); }) < 2 * kSlowdown);
}

// What the vendor refuses is not begun on our lanes either, and is forgotten.
RANK_BODY(RefusedCallsBeginNothing) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm comm = cutWorld(ctx, reader);
  const uint64_t before = carried(reader, ctx.rank).operations;
  auto* noStream = reinterpret_cast<cudaStream_t>(uintptr_t{64});
  std::vector<int32_t> data(1000, 7);
  auto call = [&](cudaStream_t stream) {
    return ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, stream);
  };
  RANK_IS(call(noStream), ncclInvalidArgument);
  RANK_OK(ncclGroupStart());
  RANK_OK(call(nullptr));
  RANK_IS(call(noStream), ncclInvalidArgument);
  RANK_IS(ncclGroupEnd(), ncclInvalidArgument);
  RANK_EQ(data[999], 7);
  RANK_EQ(carried(reader, ctx.rank).operations, before);
  RANK_OK(call(nullptr));
  RANK_EQ(data[999], 7 * ctx.size);
  RANK_EQ(carried(reader, ctx.rank).operations, before + 1);
  comm.destroy();
}

// Rank 1 gives up. The others are in a call that the vendor carries alone, or have work on streams.
RANK_BODY(OthersHearOfAFailure) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm comm = cutWorld(ctx, reader);
  if (ctx.rank == 1) {
    usleep(100'000);
    flexlink::sideOf(comm)->giveUp(
        flexlink::makeStatus(flexlink::Code::kSystem, "a fault of the test"));
    ctx.barrier();
    return comm.abort();
  }
  const size_t n = 3000;
  std::vector<int32_t> in(n * static_cast<size_t>(ctx.size)), out(in.size());
  Stream stream;
  const double seconds = timed([&] {
    if (ctx.args == "stream") {
      (void)ncclAllReduce(in.data(), out.data(), n, ncclInt32, ncclSum, comm, stream);
      (void)flexlinkStreamSynchronize(stream);  // its work ends; whether it is right is asked below
    } else {
      RANK_TRUE(ncclAlltoAll(in.data(), out.data(), n, ncclInt32, comm, nullptr) != ncclSuccess);
    }
  });
  RANK_TRUE_MSG(seconds < 2 * kSlowdown, seconds);
  ncclResult_t async = ncclSuccess;
  RANK_OK(ncclCommGetAsyncError(comm, &async));
  RANK_EQ(async, ncclRemoteError);
  ctx.barrier();
  comm.abort();
}

RANK_BODY(ARankDiesBesideTheVendor) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm comm = cutWorld(ctx, reader);
  if (ctx.rank == 1) (void)raise(SIGKILL);
  ncclResult_t failed = ncclSuccess;
  const double seconds = timed([&] {
    std::vector<int32_t> data(5000);
    failed =
        ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, nullptr);
  });
  RANK_TRUE_MSG(seconds < 2 * kSlowdown, seconds);
  RANK_EQ(failed, ncclRemoteError);
  RANK_MENTIONS(lastError(comm), "rank 1");
  int dead = 1;
  Comm rest;  // the vendor's alone
  RANK_OK(ncclCommShrink(comm, &dead, 1, rest.put(), nullptr, NCCL_SHRINK_ABORT));
  int32_t one = 1;
  RANK_OK(ncclAllReduce(&one, &one, 1, ncclInt32, ncclSum, rest, nullptr));
  RANK_EQ(one, ctx.size - 1);
  rest.destroy();
  comm.abort();
}

// Nobody answers rank 0's call; another thread ends it.
RANK_BODY(AbortEndsACutCall) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm comm = cutWorld(ctx, reader);
  if (ctx.rank == 0) {
    ncclComm_t handle = comm.release();
    double seconds = 0;
    std::thread aborting([&] {
      usleep(200'000);
      seconds = timed([&] { (void)ncclCommAbort(handle); });
    });
    std::vector<int32_t> data(1000, 1);
    ncclResult_t result =
        ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, handle, nullptr);
    aborting.join();
    RANK_TRUE_MSG(result != ncclSuccess, resultName(result));
    RANK_TRUE(seconds < 2 * kSlowdown);
    ctx.set(0);
  } else {
    ctx.wait(0);
    comm.abort();
  }
}

// A group that is only simulated launches nothing, also of ours.
RANK_BODY(SimulatedGroupsAreNotCut) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm comm = cutWorld(ctx, reader);
  const uint64_t before = carried(reader, ctx.rank).operations;
  std::vector<int32_t> data(1000, 7);
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, nullptr));
  RANK_OK(ncclGroupSimulateEnd(nullptr));
  RANK_EQ(data[999], 7);
  RANK_EQ(carried(reader, ctx.rank).operations, before);
  RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, nullptr));
  RANK_EQ(data[999], 7 * ctx.size);
  comm.destroy();
}

TEST(Side, CutCallsGiveExactResults) {
  printf("FLEXLINK_TEST_SEED=%llu\n", static_cast<unsigned long long>(testSeed()));
  expectRanksPass("CutCases", beside(2));
  expectRanksPass("CutCases", beside(4, How::kMixed, "vendor:3,memory:1"));
}
TEST(Side, BatchesOnAStreamAndInGroupsGiveExactResults) {
  expectRanksPass("CutBatches", beside(2));
  expectRanksPass("CutBatches", beside(3, How::kThreads, "vendor:1,memory:3"));
}
TEST(Side, OurPartWaitsUntilTheStreamHasComeToTheCall) {
  expectRanksPass("CutCallsWaitForTheirStream", beside(2));
}
TEST(Side, EveryKindThatTheVendorCanSliceIsCut) { expectRanksPass("EachKindIsCut", beside(3)); }
TEST(Side, CommunicatorsAndStreamsInOneGroup) {
  expectRanksPass("CutOnTwoCommunicators", beside(2));
}
TEST(Side, CommunicatorsThatDoNotBlockAreCutToo) {
  expectRanksPass("CutWithoutBlocking", beside(2));
}
TEST(Side, ChildrenHaveLanesBesideTheVendor) { expectRanksPass("ChildrenAreCut", beside(4)); }
TEST(Side, CommunicatorsOfOneThreadAreCutToo) { expectRanksPass("InitAllIsCut", beside(1)); }
TEST(Side, RanksWithNcclCommIdHaveLanesBesideTheVendor) {
  RunOptions o = beside(3);
  o.env.push_back("NCCL_COMM_ID=127.0.0.1:" + std::to_string(30'000 + getpid() % 2000 * 2));
  expectRanksPass("CutAtCommId", o);
}
TEST(Side, SimulatedGroupsLaunchNothing) { expectRanksPass("SimulatedGroupsAreNotCut", beside(2)); }
TEST(Side, WhereOneRankHasNoneTheVendorCarriesAll) {
  RunOptions o = beside(2);
  o.env.push_back("NCCL_DEBUG=WARN");
  const Outcome out = expectRanksPass("OneRankWithoutLanes", o);
  EXPECT_NE(out.output.find("not every rank has lanes: rank 1 of 2 did not come within 5 s"),
            std::string::npos)
      << out.output;
}
TEST(Side, AFailureOfOurLaneIsTheCommunicators) {
  for (const char* micros : {"0", "700", "3000", "11000"}) {
    SCOPED_TRACE(micros);
    RunOptions o = beside(3);
    o.args = micros;
    expectRanksPass("OurLaneFails", o);
  }
}
TEST(Side, WhatTheVendorRefusesIsBegunNowhere) {
  expectRanksPass("RefusedCallsBeginNothing", beside(2));
}
TEST(Side, AFailureIsHeardInEveryCallAndOnStreams) {
  for (const char* where : {"alone", "stream"}) {
    SCOPED_TRACE(where);
    RunOptions o = beside(3);
    o.args = where;
    expectRanksPass("OthersHearOfAFailure", o);
  }
}
TEST(Side, ADeadRankIsNamed) {
  RunOptions o = beside(3);
  o.mayDie = {1};
  expectRanksPass("ARankDiesBesideTheVendor", o);
}
TEST(Side, AbortFromAnotherThreadEndsACutCall) { expectRanksPass("AbortEndsACutCall", beside(2)); }

// Bodies that know nothing of it.
TEST(Side, ProgramsRunAsOnTheVendor) {
  for (const char* body : {"NonBlocking", "SplitByColourAndKey", "ShrinkHealthy", "Grow",
                           "MixedGroup", "InitAllInOneThread", "StreamWaitsForStream"}) {
    SCOPED_TRACE(body);
    expectRanksPass(body, beside(4, How::kMixed));
  }
}

}  // namespace
}  // namespace ranktest
