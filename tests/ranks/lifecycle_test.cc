// SPDX-License-Identifier: Apache-2.0
// The life of a communicator: configured and non-blocking creation, facts, finalize, destroy,
// abort, revoke, suspend; memory and registration.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/rank_run.h"
#include "support/rank_suite.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

constexpr double kSoon = 2;

void checkSum(ncclComm_t comm, int size, size_t count = 1000) {
  std::vector<int32_t> data(count, 1);
  RANK_OK(ncclAllReduce(data.data(), data.data(), count, ncclInt32, ncclSum, comm, nullptr));
  for (int32_t x : data) RANK_EQ(x, size);
}

RANK_BODY(Facts) {
  Comm comm = makeWorld(ctx);
  int value = -1;
  RANK_OK(ncclCommCount(comm, &value));
  RANK_EQ(value, ctx.size);
  RANK_OK(ncclCommUserRank(comm, &value));
  RANK_EQ(value, ctx.rank);
  RANK_OK(ncclCommCuDevice(comm, &value));
  RANK_EQ(value, 0);
  ncclResult_t state = ncclInternalError;
  RANK_OK(ncclCommGetAsyncError(comm, &state));
  RANK_EQ(state, ncclSuccess);
  ncclCommProperties_t props = NCCL_COMM_PROPERTIES_INITIALIZER;
  RANK_OK(ncclCommQueryProperties(comm, &props));
  RANK_EQ(props.rank, ctx.rank);
  RANK_EQ(props.nRanks, ctx.size);
  RANK_EQ(props.cudaDev, 0);
  RANK_EQ(props.nvmlDev, -1);
  RANK_EQ(props.deviceApiSupport, false);
  RANK_EQ(props.multimemSupport, false);
  RANK_EQ(props.ginType, NCCL_GIN_TYPE_NONE);
  ctx.publish(props.commHash);
  props.magic = 0;
  RANK_IS(ncclCommQueryProperties(comm, &props), ncclInvalidArgument);
  Comm other = makeWorld(ctx, 1);
  ncclCommProperties_t otherProps = NCCL_COMM_PROPERTIES_INITIALIZER;
  RANK_OK(ncclCommQueryProperties(other, &otherProps));
  ctx.publish(otherProps.commHash);
  comm.destroy();
  other.destroy();
}

// A caller that was built against an older struct: bytes behind its size stay untouched.
RANK_BODY(OldProperties) {
  Comm comm = makeWorld(ctx);
  ncclCommProperties_t props = NCCL_COMM_PROPERTIES_INITIALIZER;
  memset(reinterpret_cast<char*>(&props) + 56, 0x5a, sizeof(props) - 56);
  props.size = 56;  // the struct of 2.30
  RANK_OK(ncclCommQueryProperties(comm, &props));
  RANK_EQ(props.nRanks, ctx.size);
  const auto* bytes = reinterpret_cast<const unsigned char*>(&props);
  for (size_t i = 56; i < sizeof(props); ++i) RANK_EQ(static_cast<int>(bytes[i]), 0x5a);
  comm.destroy();
}

RANK_BODY(NonBlocking) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.commName = "nonblocking";
  const ncclUniqueId id = ctx.id(0);
  ncclComm_t comm = nullptr;
  ncclResult_t result = ncclCommInitRankConfig(&comm, ctx.size, id, ctx.rank, &config);
  RANK_TRUE_MSG(result == ncclSuccess || result == ncclInProgress, resultName(result));
  RANK_TRUE(comm != nullptr);
  RANK_EQ(pollAsync(comm, 30), ncclSuccess);

  std::vector<int32_t> data(100'000, 1);
  result = ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, nullptr);
  RANK_TRUE_MSG(result == ncclSuccess || result == ncclInProgress, resultName(result));
  RANK_EQ(pollAsync(comm, 30), ncclSuccess);
  for (int32_t x : data) RANK_EQ(x, ctx.size);

  ncclComm_t child = nullptr;
  result = ncclCommSplit(comm, 0, -ctx.rank, &child, nullptr);
  RANK_TRUE_MSG(result == ncclSuccess || result == ncclInProgress, resultName(result));
  RANK_EQ(pollAsync(comm, 30), ncclSuccess);
  RANK_TRUE(child != nullptr);
  RANK_EQ(pollAsync(child, 30), ncclSuccess);
  int rank = -1;
  RANK_OK(ncclCommUserRank(child, &rank));
  RANK_EQ(rank, ctx.size - 1 - ctx.rank);

  for (ncclComm_t c : {child, comm}) {
    result = ncclCommFinalize(c);
    RANK_TRUE_MSG(result == ncclSuccess || result == ncclInProgress, resultName(result));
    RANK_EQ(pollAsync(c, 30), ncclSuccess);
    RANK_OK(ncclCommDestroy(c));
  }
}

// A rank that comes late must not block the call of a non-blocking communicator.
RANK_BODY(NonBlockingDoesNotWaitForALateRank) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  const ncclUniqueId id = ctx.id(0);
  ctx.barrier();
  if (ctx.rank == 1) usleep(700'000);
  ncclComm_t comm = nullptr;
  ncclResult_t result = ncclSuccess;
  const double initSeconds =
      timed([&] { result = ncclCommInitRankConfig(&comm, ctx.size, id, ctx.rank, &config); });
  RANK_TRUE_MSG(result == ncclSuccess || result == ncclInProgress, resultName(result));
  if (ctx.rank == 0) {
    RANK_TRUE_MSG(initSeconds < 0.4, initSeconds);
    ncclResult_t state = ncclSuccess;
    RANK_OK(ncclCommGetAsyncError(comm, &state));
    RANK_EQ(state, ncclInProgress);
  }
  RANK_EQ(pollAsync(comm, 30), ncclSuccess);
  ctx.barrier();
  if (ctx.rank == 1) usleep(700'000);
  std::vector<int32_t> data(1000, 1);
  const double callSeconds = timed([&] {
    result = ncclAllReduce(data.data(), data.data(), 1000, ncclInt32, ncclSum, comm, nullptr);
  });
  RANK_TRUE_MSG(result == ncclSuccess || result == ncclInProgress, resultName(result));
  if (ctx.rank == 0) RANK_TRUE_MSG(callSeconds < 0.4, callSeconds);
  RANK_EQ(pollAsync(comm, 30), ncclSuccess);
  for (int32_t x : data) RANK_EQ(x, ctx.size);
  result = ncclCommFinalize(comm);
  RANK_EQ(pollAsync(comm, 30), ncclSuccess);
  RANK_OK(ncclCommDestroy(comm));
}

RANK_BODY(ConfigProtocol) {
  const ncclUniqueId id = ctx.id(0);
  ncclComm_t comm = nullptr;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.magic = 7;
  RANK_IS(ncclCommInitRankConfig(&comm, ctx.size, id, ctx.rank, &config), ncclInvalidArgument);
  RANK_MENTIONS(lastError(nullptr), "NCCL_CONFIG_INITIALIZER");
  config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 5;
  RANK_IS(ncclCommInitRankConfig(&comm, ctx.size, id, ctx.rank, &config), ncclInvalidArgument);
  RANK_MENTIONS(lastError(nullptr), "blocking");
  // A program that was built against 2.14 hands in 24 bytes; what lies behind is not ours.
  struct {
    size_t size = 24;
    unsigned int magic = NCCL_API_MAGIC;
    unsigned int version = NCCL_VERSION(2, 14, 0);
    int blocking = 1;
    int garbage[100];
  } old;
  memset(old.garbage, 0x77, sizeof(old.garbage));
  RANK_OK(
      ncclCommInitRankConfig(&comm, ctx.size, id, ctx.rank, reinterpret_cast<ncclConfig_t*>(&old)));
  checkSum(comm, ctx.size);
  RANK_OK(ncclCommDestroy(comm));
}

RANK_BODY(FinalizeThenDestroy) {
  Comm comm = makeWorld(ctx);
  checkSum(comm, ctx.size);
  Stream stream;
  std::vector<int32_t> data(200'000, 1);
  for (int i = 0; i < 3; ++i) {
    RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclMax, comm, stream));
  }
  RANK_OK(ncclCommFinalize(comm));  // flushes what is pending
  stream.sync();
  for (int32_t x : data) RANK_EQ(x, 1);
  RANK_IS(ncclAllReduce(data.data(), data.data(), 1, ncclInt32, ncclSum, comm, nullptr),
          ncclInvalidUsage);
  comm.destroy();
}

// Destroy at very different times: nobody waits for ever, nobody sees an error.
RANK_BODY(DestroyAtDifferentTimes) {
  for (int round = 0; round < 3; ++round) {
    Comm comm = makeWorld(ctx, round);
    checkSum(comm, ctx.size);
    if (ctx.rank == round % ctx.size) usleep(300'000);
    comm.destroy();
  }
}

// A rank may destroy while its last small send has not been received yet.
RANK_BODY(DestroyRightAfterTheLastOperation) {
  for (int round = 0; round < 20; ++round) {
    Comm comm = makeWorld(ctx, round);
    std::vector<int32_t> data(round * 5000 + 1, ctx.rank == 0 ? round : -1);
    RANK_OK(ncclBroadcast(data.data(), data.data(), data.size(), ncclInt32, 0, comm, nullptr));
    for (int32_t x : data) RANK_EQ(x, round);
    comm.destroy();
  }
}

RANK_BODY(AbortFromAnotherThread) {
  Comm comm = makeWorld(ctx);
  checkSum(comm, ctx.size);
  ctx.barrier();
  if (ctx.rank != 0) {
    ctx.wait(1);  // never enters the operation
    comm.abort();
    return;
  }
  std::vector<int32_t> data(100'000, 1);
  std::atomic<int> got{-1};
  const ncclComm_t handle = comm.release();
  std::thread blocked([&] {
    got = ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, handle, nullptr);
  });
  usleep(200'000);
  const int before = got;
  ncclResult_t aborted = ncclInternalError;
  const double seconds = timed([&] { aborted = ncclCommAbort(handle); });
  blocked.join();
  ctx.set(1);
  RANK_EQ(aborted, ncclSuccess);
  RANK_EQ(before, -1);
  RANK_TRUE_MSG(got != ncclSuccess && got != ncclInProgress, got.load());
  RANK_TRUE_MSG(seconds < kSoon * kSlowdown, seconds);
}

// The abort of one rank ends the others' calls with an error that names it.
RANK_BODY(AbortReachesThePeers) {
  Comm comm = makeWorld(ctx);
  checkSum(comm, ctx.size);
  ctx.barrier();
  if (ctx.rank == 1) {
    usleep(200'000);
    comm.abort();
    return;
  }
  std::vector<int32_t> data(100'000, 1);
  const double seconds = timed([&] {
    RANK_IS(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, nullptr),
            ncclRemoteError);
  });
  RANK_MENTIONS(lastError(comm), "rank 1");
  RANK_TRUE_MSG(seconds < kSoon * kSlowdown, seconds);
  ncclResult_t state = ncclSuccess;
  RANK_OK(ncclCommGetAsyncError(comm, &state));
  RANK_EQ(state, ncclRemoteError);
  comm.abort();
}

RANK_BODY(Revoke) {
  Comm comm = makeWorld(ctx);
  checkSum(comm, ctx.size);
  ctx.barrier();
  RANK_OK(ncclCommRevoke(comm, NCCL_REVOKE_DEFAULT));
  int32_t x = 1;
  RANK_IS(ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, comm, nullptr), ncclInvalidUsage);
  RANK_MENTIONS(lastError(comm), "revoke");
  RANK_IS(ncclCommFinalize(comm), ncclInvalidUsage);
  ctx.barrier();
  Comm child;
  RANK_OK(ncclCommSplit(comm, 0, 0, child.put(), nullptr));
  checkSum(child, ctx.size);
  child.destroy();
  comm.destroy();
}

// Rank 0 revokes while it waits in an operation that rank 1 never enters.
RANK_BODY(RevokeEndsBlockedWork) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  ctx.barrier();
  std::vector<int32_t> data(100'000, 1);
  if (ctx.rank == 0) {
    RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, stream));
    usleep(100'000);
    RANK_IS(flexlinkStreamQuery(stream), ncclInProgress);
  }
  ctx.barrier();
  RANK_OK(ncclCommRevoke(comm, NCCL_REVOKE_DEFAULT));
  if (ctx.rank == 0) {
    ncclResult_t result = ncclSuccess;
    const double seconds = timed([&] { result = flexlinkStreamSynchronize(stream); });
    RANK_TRUE_MSG(result != ncclSuccess && result != ncclInProgress, resultName(result));
    RANK_TRUE_MSG(seconds < kSoon * kSlowdown, seconds);
  }
  ctx.barrier();
  comm.abort();
}

RANK_BODY(SuspendAndResume) {
  Comm comm = makeWorld(ctx);
  checkSum(comm, ctx.size, 300'000);
  uint64_t value = 99;
  RANK_OK(ncclCommMemStats(comm, ncclStatGpuMemSuspended, &value));
  RANK_EQ(value, 0U);
  uint64_t total = 0;
  uint64_t suspend = 0;
  uint64_t persist = 0;
  RANK_OK(ncclCommMemStats(comm, ncclStatGpuMemTotal, &total));
  RANK_OK(ncclCommMemStats(comm, ncclStatGpuMemSuspend, &suspend));
  RANK_OK(ncclCommMemStats(comm, ncclStatGpuMemPersist, &persist));
  RANK_TRUE(total <= (8u << 20) + (64u << 10) * static_cast<unsigned>(ctx.size));
  RANK_EQ(total, suspend + persist);
  RANK_TRUE_MSG(total > 0 && total <= (8U << 20) + 65536U * static_cast<unsigned>(ctx.size), total);
  RANK_IS(ncclCommMemStats(comm, static_cast<ncclCommMemStat_t>(17), &value), ncclInvalidArgument);
  RANK_IS(ncclCommMemStats(comm, ncclStatGpuMemTotal, nullptr), ncclInvalidArgument);
  RANK_OK(ncclCommSuspend(comm, NCCL_SUSPEND_MEM));
  RANK_OK(ncclCommMemStats(comm, ncclStatGpuMemSuspended, &value));
  RANK_EQ(value, 1U);
  int32_t x = 1;
  RANK_IS(ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, comm, nullptr), ncclInvalidUsage);
  RANK_OK(ncclCommResume(comm));
  RANK_OK(ncclCommMemStats(comm, ncclStatGpuMemSuspended, &value));
  RANK_EQ(value, 0U);
  checkSum(comm, ctx.size, 300'000);
  RANK_IS(ncclCommResume(comm), ncclInvalidUsage);
  checkSum(comm, ctx.size);
  comm.destroy();
}

RANK_BODY(Memory) {
  void* at = reinterpret_cast<void*>(8);
  RANK_OK(ncclMemAlloc(&at, 0));
  RANK_TRUE(at == nullptr);
  RANK_OK(ncclMemFree(nullptr));
  RANK_IS(ncclMemAlloc(nullptr, 100), ncclInvalidArgument);
  char local = 0;
  RANK_IS(ncclMemFree(&local), ncclInvalidArgument);
  std::set<void*> live;
  for (size_t size : {size_t{1}, size_t{4096}, size_t{100'000}, size_t{32} << 20}) {
    RANK_OK(ncclMemAlloc(&at, size));
    RANK_EQ(reinterpret_cast<uintptr_t>(at) % 4096, 0U);
    RANK_EQ(static_cast<int>(*static_cast<char*>(at)), 0);
    memset(at, 1, size);
    RANK_TRUE(live.insert(at).second);
  }
  for (void* p : live) {
    RANK_OK(ncclMemFree(p));
    RANK_IS(ncclMemFree(p), ncclInvalidArgument);
  }
  // Memory that lives before the communicator and memory freed while it lives.
  std::vector<void*> early(3);
  for (void*& p : early) RANK_OK(ncclMemAlloc(&p, 40'000));
  Comm comm = makeWorld(ctx);
  for (int round = 0; round < 10; ++round) {
    void* late = nullptr;
    RANK_OK(ncclMemAlloc(&late, 40'000));
    auto* in = static_cast<int32_t*>(early[round % 3]);
    auto* out = static_cast<int32_t*>(late);
    for (int i = 0; i < 10'000; ++i) in[i] = i + round;
    RANK_OK(ncclAllReduce(in, out, 10'000, ncclInt32, ncclSum, comm, nullptr));
    for (int i = 0; i < 10'000; ++i) RANK_EQ(out[i], (i + round) * ctx.size);
    RANK_OK(ncclMemFree(late));
  }
  comm.destroy();
  for (void* p : early) RANK_OK(ncclMemFree(p));
}

RANK_BODY(Registration) {
  Comm comm = makeWorld(ctx);
  std::vector<int32_t> data(50'000, 1);
  void* handle = nullptr;
  RANK_IS(ncclCommRegister(nullptr, data.data(), 8, &handle), ncclInvalidArgument);
  RANK_IS(ncclCommRegister(comm, nullptr, 8, &handle), ncclInvalidArgument);
  RANK_IS(ncclCommRegister(comm, data.data(), 8, nullptr), ncclInvalidArgument);
  RANK_IS(ncclCommDeregister(nullptr, handle), ncclInvalidArgument);
  // The same buffer twice, overlapping, on one rank only.
  void* again = nullptr;
  if (ctx.rank == 0) {
    RANK_OK(ncclCommRegister(comm, data.data(), data.size() * 4, &handle));
    RANK_OK(ncclCommRegister(comm, data.data() + 100, 4000, &again));
  }
  RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, nullptr));
  for (int32_t x : data) RANK_EQ(x, ctx.size);
  if (ctx.rank == 0) {
    RANK_OK(ncclCommDeregister(comm, handle));
    RANK_OK(ncclCommDeregister(comm, again));
    RANK_IS(ncclCommDeregister(comm, again), ncclInvalidArgument);
  }
  RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclMax, comm, nullptr));
  for (int32_t x : data) RANK_EQ(x, ctx.size);
  comm.destroy();
}

class Lifecycle : public RankSuite {};

TEST_P(Lifecycle, FactsAreRightAndTheHashNamesTheCommunicator) {
  const Outcome out = pass("Facts", 3);
  for (const auto& values : out.values) {
    ASSERT_EQ(values.size(), 2U);
    EXPECT_EQ(values, out.values[0]);
    EXPECT_NE(values[0], values[1]);
  }
}
TEST_P(Lifecycle, PropertiesOfAnOlderCallerAreNotOverrun) { pass("OldProperties", 2); }
TEST_P(Lifecycle, NonBlockingCallsEndInSuccessByPolling) {
  for (int size : {1, 2, 4}) pass("NonBlocking", size);
}
TEST_P(Lifecycle, NonBlockingCallsReturnBeforeALateRankComes) {
  pass("NonBlockingDoesNotWaitForALateRank", 2);
}
TEST_P(Lifecycle, ConfigOfAnyVersionIsReadAndABadOneRefused) { pass("ConfigProtocol", 2); }
TEST_P(Lifecycle, FinalizeFlushesAndDestroyFrees) { pass("FinalizeThenDestroy", 3); }
TEST_P(Lifecycle, DestroyAtDifferentTimesIsNoError) { pass("DestroyAtDifferentTimes", 3); }
TEST_P(Lifecycle, DestroyRightAfterTheLastOperationLosesNothing) {
  pass("DestroyRightAfterTheLastOperation", 3);
}
TEST_P(Lifecycle, AbortFromAnotherThreadEndsABlockedCall) { pass("AbortFromAnotherThread", 2); }
TEST_P(Lifecycle, AbortOfOneRankIsARemoteErrorThatNamesIt) { pass("AbortReachesThePeers", 3); }
TEST_P(Lifecycle, RevokedCommunicatorRefusesWorkAndStillSplits) { pass("Revoke", 3); }
TEST_P(Lifecycle, RevokeEndsBlockedWork) { pass("RevokeEndsBlockedWork", 2); }
TEST_P(Lifecycle, SuspendedCommunicatorWorksAgainAfterResume) { pass("SuspendAndResume", 3); }
TEST_P(Lifecycle, MemAllocGivesZeroedPagesThatLiveApartFromCommunicators) { pass("Memory", 2); }
TEST_P(Lifecycle, RegistrationIsLocalAndMayOverlap) { pass("Registration", 2); }

INSTANTIATE_TEST_SUITE_P(Ranks, Lifecycle,
                         ::testing::Values(How::kThreads, How::kProcesses, How::kMixed),
                         [](const auto& info) { return howName(info.param); });

}  // namespace
}  // namespace ranktest
