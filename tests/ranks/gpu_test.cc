// SPDX-License-Identifier: Apache-2.0
// Communicators of our own on GPUs: buffers and streams are a driver's, here of one whose GPUs are
// threads, so that a CPU that touches their memory ends the process.
#include "support/gpu.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cstring>
#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/collective_case.h"
#include "support/numbers.h"
#include "support/rank_run.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

struct Shape {
  int size;
  How how;
  int gpus;
};

std::string shapeName(const ::testing::TestParamInfo<Shape>& info) {
  return std::to_string(info.param.size) + howName(info.param.how) + "On" +
         std::to_string(info.param.gpus);
}

RunOptions onGpus(const Shape& shape, const std::vector<std::string>& more = {}) {
  RunOptions o;
  o.size = shape.size;
  o.how = shape.how;
  o.env = gpuEnv(shape.gpus, more);
  return o;
}

std::string sample(int cases, size_t maxBytes) {
  return std::to_string(testSeed()) + " 99000000 " + std::to_string(cases) + " " +
         std::to_string(maxBytes);
}

class Gpus : public ::testing::TestWithParam<Shape> {};

TEST_P(Gpus, RandomCasesGiveExactResultsAndTouchNothingElse) {
  RunOptions o = onGpus(GetParam());
  o.args = sample(60, size_t{1} << 20);
  expectRanksPass("RandomCases", o);
}

TEST_P(Gpus, BatchesOnAStreamAndInGroupsGiveExactResults) {
  RunOptions o = onGpus(GetParam());
  o.args = sample(48, size_t{128} << 10);
  expectRanksPass("RandomBatches", o);
}

// Over PCIe: through pinned memory of the host.
TEST_P(Gpus, StagingInHostMemoryGivesExactResults) {
  for (const char* why : {"FLEXLINK_STAGING=host", "FAKE_GPU_NO_PEERS=1"}) {
    RunOptions o = onGpus(GetParam(), {why});
    o.args = sample(30, size_t{512} << 10);
    expectRanksPass("RandomCases", o);
  }
}

// What nobody waits for comes late.
TEST_P(Gpus, SlowStreamsGiveExactResults) {
  RunOptions o = onGpus(GetParam(), {"FAKE_GPU_DELAY_US=300"});
  o.args = sample(24, size_t{256} << 10);
  expectRanksPass("RandomBatches", o);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Gpus,
                         ::testing::Values(Shape{1, How::kThreads, 1}, Shape{2, How::kThreads, 1},
                                           Shape{2, How::kProcesses, 1},
                                           Shape{3, How::kProcesses, 2}, Shape{4, How::kMixed, 2},
                                           Shape{8, How::kMixed, 1}),
                         shapeName);

TEST(Gpu, AllSmallCombinationsGiveExactResults) {
  expectRanksPass("AllSmallCases", onGpus({2, How::kThreads, 1}));
}

TEST(Gpu, BitsAreThoseOfHostMemory) {
  RunOptions host;
  host.size = 3;
  host.args = "malloc";
  RunOptions gpu = onGpus({3, How::kProcesses, 1});
  gpu.args = "malloc";
  const Outcome first = expectRanksPass("ArbitraryFloatCases", host);
  const Outcome second = expectRanksPass("ArbitraryFloatCases", gpu);
  ASSERT_FALSE(first.values[0].empty());
  EXPECT_EQ(first.values, second.values);
}

constexpr size_t kCount = 50'000;

// The stream comes late to the collective, and what lies behind it waits.
RANK_BODY(GpuStreamIsTheOrder) {
  Comm comm = makeWorld(ctx);
  Gpu& gpu = *Gpu::use();
  {
    Stream stream;
    Numbers in(kCount), out(kCount), copy(kCount);
    in.host.assign(kCount, 1);
    in.upload();
    uint64_t* gate = gpu.pinnedCounter();
    std::vector<int32_t> later(kCount, ctx.rank + 10);
    gpu.wait(stream, gate);
    gpu.enqueue(in.at(), later.data(), in.bytes(), stream);
    RANK_OK(ncclAllReduce(in.at(), out.at(), kCount, ncclInt32, ncclSum, comm, stream));
    gpu.enqueue(copy.at(), out.at(), out.bytes(), stream);
    RANK_TRUE(!gpu.idle(stream));
    __atomic_store_n(gate, 1, __ATOMIC_SEQ_CST);
    stream.sync();
    int32_t sum = 0;
    for (int rank = 0; rank < ctx.size; ++rank) sum += rank + 10;
    copy.checkAll(sum);
  }
  comm.destroy();
}

// Two communicators on one stream, two streams in one group.
RANK_BODY(GpuGroupsOverStreams) {
  Comm first = makeWorld(ctx, 0);
  Comm second = makeWorld(ctx, 1);
  Gpu& gpu = *Gpu::use();
  {
    Stream a, b;
    Numbers x(kCount), y(kCount), z(kCount);
    x.host.assign(kCount, 1);
    y.host.assign(kCount, 0);
    x.upload();
    uint64_t* gate = gpu.pinnedCounter();
    std::vector<int32_t> later(kCount, 7);
    gpu.wait(b, gate);
    gpu.enqueue(y.at(), later.data(), y.bytes(), b);
    RANK_OK(ncclGroupStart());
    RANK_OK(ncclAllReduce(x.at(), x.at(), kCount, ncclInt32, ncclSum, first, a));
    RANK_OK(ncclAllReduce(y.at(), y.at(), kCount, ncclInt32, ncclSum, second, b));
    RANK_OK(ncclGroupEnd());
    RANK_OK(ncclBroadcast(x.at(), z.at(), kCount, ncclInt32, 0, second, a));
    __atomic_store_n(gate, 1, __ATOMIC_SEQ_CST);
    a.sync();
    b.sync();
    x.checkAll(ctx.size);
    y.checkAll(7 * ctx.size);
    z.checkAll(ctx.size);
  }
  first.destroy();
  second.destroy();
}

RANK_BODY(GpuScalarOfTheDevice) {
  Comm comm = makeWorld(ctx);
  {
    Stream stream;
    Numbers x(kCount), scalar(1);
    x.host.assign(kCount, ctx.rank + 1);
    x.upload();
    scalar.host[0] = 100;
    scalar.upload();
    ncclRedOp_t op{};
    RANK_OK(ncclRedOpCreatePreMulSum(&op, scalar.at(), ncclInt32, ncclScalarDevice, comm));
    const int32_t mine = 3 + ctx.rank;  // read when the collective runs
    Gpu::use()->enqueue(scalar.at(), &mine, sizeof mine, stream);
    RANK_OK(ncclAllReduce(x.at(), x.at(), kCount, ncclInt32, op, comm, stream));
    stream.sync();
    int32_t sum = 0;
    for (int rank = 0; rank < ctx.size; ++rank) sum += (3 + rank) * (rank + 1);
    x.checkAll(sum);
    RANK_OK(ncclRedOpDestroy(op, comm));
  }
  comm.destroy();
}

RANK_BODY(GpuPutsIntoWindows) {
  Comm comm = makeWorld(ctx);
  const int next = (ctx.rank + 1) % ctx.size;
  const int before = (ctx.rank + ctx.size - 1) % ctx.size;
  void* user = nullptr;
  RANK_OK(ncclMemAlloc(&user, kCount * sizeof(int32_t)));
  ncclWindow_t window = nullptr;
  RANK_OK(ncclCommWindowRegister(comm, user, kCount * sizeof(int32_t), &window, 0));
  {
    Stream stream;
    Numbers mine(kCount), got(kCount);
    mine.host.assign(kCount, 1000 + ctx.rank);
    mine.upload();
    RANK_OK(ncclPutSignal(mine.at(), kCount, ncclInt32, next, window, 0, 0, 0, 0, comm, stream));
    ncclWaitSignalDesc_t one{1, before, 0, 0};
    RANK_OK(ncclWaitSignal(1, &one, comm, stream));
    Gpu::use()->enqueue(got.at(), user, got.bytes(), stream);
    stream.sync();
    got.checkAll(1000 + before);
  }
  RANK_OK(ncclCommWindowDeregister(comm, window));
  ctx.barrier();
  RANK_OK(ncclMemFree(user));
  comm.destroy();
}

RANK_BODY(GpuRefusals) {
  Comm comm = makeWorld(ctx);
  int device = -1;
  RANK_OK(ncclCommCuDevice(comm, &device));
  RANK_EQ(device, ctx.rank % Gpu::use()->count());
  {
    Stream stream;
    Numbers x(16);
    int32_t pageable[16] = {};
    RANK_IS(ncclAllReduce(pageable, x.at(), 16, ncclInt32, ncclSum, comm, stream),
            ncclInvalidArgument);
    RANK_MENTIONS(lastError(comm), "host memory that no GPU reaches", "cudaMalloc");
    RANK_IS(ncclAllReduce(x.at(), pageable, 16, ncclInt32, ncclSum, comm, stream),
            ncclInvalidArgument);
    cudaStream_t ours = nullptr;
    RANK_IS(flexlinkStreamCreate(&ours), ncclInvalidUsage);
    RANK_MENTIONS(lastError(nullptr), "flexlinkStreamCreate", "with CUDA");
    Gpu::use()->record(stream, true);
    RANK_IS(ncclAllReduce(x.at(), x.at(), 16, ncclInt32, ncclSum, comm, stream), ncclInvalidUsage);
    RANK_MENTIONS(lastError(comm), "graph", "FLEXLINK_PASS_THROUGH");
    Gpu::use()->record(stream, false);
    x.host.assign(16, 1);
    x.upload();
    RANK_OK(ncclAllReduce(x.at(), x.at(), 16, ncclInt32, ncclSum, comm, stream));
    stream.sync();
    x.checkAll(ctx.size);
  }
  comm.destroy();
}

RANK_BODY(GpuNullStream) {
  Comm comm = makeWorld(ctx);
  {
    Numbers x(kCount);
    x.host.assign(kCount, 1);
    x.upload();
    for (int i = 0; i < 3; ++i) {
      RANK_OK(ncclAllReduce(x.at(), x.at(), kCount, ncclInt32, ncclSum, comm, nullptr));
    }
    Gpu::use()->synchronize(nullptr);
    x.checkAll(ctx.size * ctx.size * ctx.size);
  }
  comm.destroy();
}

TEST(Gpu, TheStreamNullIsTheDevices) {
  expectRanksPass("GpuNullStream", onGpus({3, How::kProcesses, 1}));
  expectRanksPass("GpuNullStream", onGpus({2, How::kThreads, 2}));
}

TEST_P(Gpus, WorkIsDoneInTheOrderOfTheProgramsStreams) {
  expectRanksPass("GpuStreamIsTheOrder", onGpus(GetParam()));
  expectRanksPass("GpuGroupsOverStreams", onGpus(GetParam(), {"FAKE_GPU_DELAY_US=300"}));
}

TEST_P(Gpus, ScalarsAndWindowsAreTheDevices) {
  expectRanksPass("GpuScalarOfTheDevice", onGpus(GetParam()));
  expectRanksPass("GpuPutsIntoWindows", onGpus(GetParam()));
}

TEST(Gpu, WhatItCannotTakeIsSaid) { expectRanksPass("GpuRefusals", onGpus({2, How::kThreads, 2})); }

// CUDA_DEVICE_MAX_CONNECTIONS=1: a stream that waits for its peers holds up all of the program's,
// but none of ours.
TEST(Gpu, OneConnectionForAllStreamsIsEnough) {
  for (const char* hosts : {"", "01"}) {
    RunOptions o = onGpus({2, How::kProcesses, 1},
                          {"FAKE_GPU_CONNECTIONS=1", "CUDA_DEVICE_MAX_CONNECTIONS=1"});
    o.hosts = hosts;
    o.deadlineSeconds = 20;
    for (const char* body : {"GpuStreamIsTheOrder", "GpuScalarOfTheDevice", "GpuNullStream"}) {
      expectRanksPass(body, o);
    }
    o.args = sample(inReach(32), size_t{128} << 10);
    expectRanksPass("RandomBatches", o);
    o.env.emplace_back("FLEXLINK_STAGING=host");
    expectRanksPass("RandomBatches", o);
  }
}

// The peer never comes: what lies behind the collective goes on when it is given up.
RANK_BODY(GpuAbort) {
  Comm comm = makeWorld(ctx);
  if (ctx.rank == 0) {
    Stream stream;
    Numbers x(kCount);
    x.host.assign(kCount, 1);
    x.upload();
    RANK_OK(ncclAllReduce(x.at(), x.at(), kCount, ncclInt32, ncclSum, comm, stream));
    RANK_TRUE(!Gpu::use()->idle(stream));
    RANK_TRUE(timed([&] { comm.abort(); }) < 2);
    RANK_TRUE(timed([&] { stream.sync(); }) < 2);
    ctx.set(1);
  } else {
    ctx.wait(1);
    RANK_IS(pollAsync(comm, 5), ncclRemoteError);
    comm.abort();
  }
}

TEST(Gpu, AStreamGoesOnBehindWhatIsAborted) {
  for (How how : {How::kThreads, How::kProcesses}) {
    expectRanksPass("GpuAbort", onGpus({2, how, 1}));
  }
}

// Who is through with the last collective first goes, while others still read what it has staged.
RANK_BODY(GpuLeavesAtOnce) {
  for (int round = 0; round < 12; ++round) {
    Comm comm = makeWorld(ctx, round);
    Stream stream;
    Numbers x(kCount, ctx.rank), all(kCount * static_cast<size_t>(ctx.size));
    RANK_OK(ncclAllGather(x.at(), all.at(), kCount, ncclInt32, comm, stream));
    stream.sync();
    comm.destroy();
    all.download();
    for (size_t i = 0; i < all.count(); ++i) {
      RANK_EQ(all.host[i], static_cast<int32_t>(i / kCount));
    }
  }
}

TEST(Gpu, StagingMemoryStaysWhileAPeerReadsIt) {
  RunOptions o = onGpus({3, How::kThreads, 1}, {"FAKE_GPU_DELAY_US=3000"});
  expectRanksPass("GpuLeavesAtOnce", o);
}

// Argument: what is said of it.
RANK_BODY(GpuPeerDies) {
  Comm comm = makeWorld(ctx);
  if (ctx.rank == 1) {
    ctx.set(1);
    for (;;) pause();
  }
  ctx.wait(1);
  Stream stream;
  Numbers x(kCount);
  x.upload();
  RANK_OK(ncclAllReduce(x.at(), x.at(), kCount, ncclInt32, ncclSum, comm, stream));
  ctx.set(2);
  RANK_TRUE(timed([&] { stream.sync(); }) < 5);
  ncclResult_t async = ncclSuccess;
  RANK_OK(ncclCommGetAsyncError(comm, &async));
  RANK_EQ(async, ncclRemoteError);
  RANK_MENTIONS(lastError(comm), "rank 1", ctx.args);
  comm.abort();
}

TEST(Gpu, ADeadPeerEndsTheWaitOfAStream) {
  RunOptions o = onGpus({2, How::kProcesses, 1});
  o.args = "is dead";
  o.mayDie = {1};
  RankRun run("GpuPeerDies", o);
  run.start();
  ASSERT_TRUE(run.waitFlag(2, 20));
  run.signalRank(1, SIGKILL);
  const Outcome outcome = run.finish();
  EXPECT_TRUE(outcome.ok()) << outcome.report();
}

// One rank has its buffers elsewhere.
RANK_BODY(GpuAndHost) {
  if (ctx.rank == 1) setenv("FLEXLINK_DEVICE", "host", 1);
  const ncclUniqueId id = ctx.id();
  Comm comm;
  RANK_IS(ncclCommInitRank(comm.put(), ctx.size, id, ctx.rank), ncclInvalidUsage);
  RANK_MENTIONS(lastError(nullptr), "rank 1", "host memory", "rank 0", "FLEXLINK_DEVICE");
}

TEST(Gpu, AllRanksHaveTheSameDevice) {
  RunOptions o = onGpus({2, How::kProcesses, 1});
  expectRanksPass("GpuAndHost", o);
}

}  // namespace
}  // namespace ranktest
