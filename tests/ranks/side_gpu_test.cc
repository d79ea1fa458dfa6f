// SPDX-License-Identifier: Apache-2.0
// Lanes of ours beside the vendor on GPUs, which are threads here; and shares that follow what
// calls take, there and on host memory.
#include <gtest/gtest.h>

#include "ranks/side_support.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

// A second copy that works there stands in for the vendor, which could replay a graph.
RANK_BODY(RecordedCallsAreNotCut) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm comm = cutWorld(ctx, reader);
  Stream stream;
  Numbers x(100'000, 1);
  const uint64_t before = carried(reader, ctx.rank).operations;
  Gpu::use()->record(stream, true);
  RANK_IS(ncclAllReduce(x.at(), x.at(), x.count(), ncclInt32, ncclSum, comm, stream),
          ncclInvalidUsage);
  RANK_MENTIONS(lastError(comm), "recorded into a graph");  // says the one that stands in
  Gpu::use()->record(stream, false);
  RANK_EQ(carried(reader, ctx.rank).operations, before);
  RANK_OK(ncclAllReduce(x.at(), x.at(), x.count(), ncclInt32, ncclSum, comm, stream));
  stream.sync();
  RANK_EQ(carried(reader, ctx.rank).operations, before + 1);
  x.checkAll(ctx.size);
  comm.destroy();
}

RunOptions besideOnGpus(int size, How how, int gpus, const char* lanes = "vendor:1,memory:1") {
  RunOptions o = beside(size, how, lanes);
  o.env = gpuEnv(gpus, o.env);
  return o;
}

TEST(Side, CallsOnGpusAreCut) {
  for (const char* body : {"CutCases", "CutBatches", "EachKindIsCut", "RecordedCallsAreNotCut"}) {
    SCOPED_TRACE(body);
    expectRanksPass(body, besideOnGpus(2, How::kProcesses, 1));
    expectRanksPass(body, besideOnGpus(3, How::kThreads, 2));
  }
}

// CUDA_DEVICE_MAX_CONNECTIONS=1.
TEST(Side, OneConnectionForAllStreamsIsEnough) {
  RunOptions o = besideOnGpus(2, How::kProcesses, 1);
  o.env.emplace_back("FAKE_GPU_CONNECTIONS=1");
  for (const char* body : {"CutCases", "EachKindIsCut"}) expectRanksPass(body, o);
}

TEST(Side, CallsBetweenHostsAreCut) {
  RunOptions memory = beside(4, How::kProcesses, "vendor:1,hier:1");
  memory.hosts = "0011";
  expectRanksPass("CutCases", memory);
  for (const char* body : {"CutCases", "EachKindIsCut"}) {
    SCOPED_TRACE(body);
    RunOptions gpus = besideOnGpus(4, How::kProcesses, 2, "vendor:1,hier:1");
    gpus.hosts = "0011";
    expectRanksPass(body, gpus);
    RunOptions apart = besideOnGpus(2, How::kProcesses, 1, "vendor:1,message:1");
    apart.hosts = "01";
    expectRanksPass(body, apart);
  }
}

// Lone calls on a stream, large enough to be timed: a lane that carries nothing is tried with a
// small part of one. All of them are exact.
RANK_BODY(LanesAreTried) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  Comm comm = makeWorld(ctx);
  Stream stream;
  Numbers x(std::stoul(ctx.args)), tried(1);
  for (int round = 0;; ++round) {
    RANK_TRUE_MSG(round < 3000, "our lane is never tried");
    x.host.assign(x.count(), ctx.rank + round);
    x.upload();
    RANK_OK(ncclAllReduce(x.at(), x.at(), x.count(), ncclInt32, ncclSum, comm, stream));
    stream.sync();
    x.download();
    for (size_t i = 0; i < x.count(); i += 61) {
      RANK_EQ(x.host[i], ctx.size * round + ctx.size * (ctx.size - 1) / 2);
    }
    tried.host[0] = carried(reader, ctx.rank).operations > 0 ? 1 : 0;
    tried.upload();
    RANK_OK(ncclAllReduce(tried.at(), tried.at(), 1, ncclInt32, ncclMin, comm, stream));
    stream.sync();
    tried.download();
    if (tried.host[0] == 1) break;
  }
  comm.destroy();
}

TEST(Side, SharesWithoutPartsFollowTimes) {
  RunOptions o = beside(2, How::kProcesses, "vendor,memory");
  o.args = std::to_string((1 << 20) / 4);
  expectRanksPass("LanesAreTried", o);
}

TEST(Side, SharesWithoutPartsFollowTimesOnGpus) {
  RunOptions o = besideOnGpus(2, How::kProcesses, 1, "vendor,memory");
  o.args = std::to_string((32 << 20) / 4);
  expectRanksPass("LanesAreTried", o);
}

}  // namespace
}  // namespace ranktest
