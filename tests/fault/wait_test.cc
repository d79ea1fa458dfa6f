// SPDX-License-Identifier: Apache-2.0
// Waiting: for a late rank without limit and without burning a core, for a missing one at creation
// with a limit and names, and idling for nothing.
#include <gtest/gtest.h>
#include <unistd.h>

#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/proc.h"
#include "support/rank_run.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

constexpr useconds_t kLateMicros = 3'000'000;

// CPU time of the process while `wait` runs, with the promise for that many seconds.
void checkCheap(const char* where, double bound, const std::function<void()>& wait) {
  const double before = processCpuSeconds();
  const double seconds = timed(wait);
  const double used = processCpuSeconds() - before;
  if (used > bound * kSlowdown) {
    fail(where, "used " + std::to_string(used) + " s of CPU in " + std::to_string(seconds) + " s");
  }
}

RANK_BODY(LatePeer) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  std::vector<int32_t> data(ctx.args == "large" ? 1'000'000 : 4, 1);
  const auto reduce = [&](cudaStream_t s) {
    return ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, s);
  };
  RANK_OK(reduce(nullptr));
  ctx.barrier();
  if (ctx.rank == 0) {
    usleep(kLateMicros);
    RANK_OK(reduce(nullptr));
  } else {
    checkCheap(RANK_WHERE, 0.05, [&] { RANK_OK(reduce(nullptr)); });
  }
  for (int32_t x : data) RANK_EQ(x, ctx.size * ctx.size);
  ctx.barrier();
  // The same, waiting for a stream.
  if (ctx.rank == 1) {
    usleep(kLateMicros / 3);
    RANK_OK(reduce(nullptr));
  } else {
    RANK_OK(reduce(stream));
    checkCheap(RANK_WHERE, 0.05, [&] { stream.sync(); });
  }
  for (int32_t x : data) RANK_EQ(x, ctx.size * ctx.size * ctx.size);
  comm.destroy();
}

RANK_BODY(LateInit) {
  const ncclUniqueId id = ctx.id(0);
  ctx.barrier();
  Comm comm;
  if (ctx.rank == 1) {
    usleep(2'000'000);
    RANK_OK(ncclCommInitRank(comm.put(), ctx.size, id, ctx.rank));
  } else {
    checkCheap(RANK_WHERE, 0.1,
               [&] { RANK_OK(ncclCommInitRank(comm.put(), ctx.size, id, ctx.rank)); });
  }
  comm.destroy();
}

RANK_BODY(Idle) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  std::vector<int32_t> data(100'000, 1);
  for (int i = 0; i < 20; ++i) {
    RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclMax, comm, stream));
  }
  stream.sync();
  RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclMax, comm, nullptr));
  ctx.barrier();
  usleep(200'000);  // what the last operation leaves behind may settle
  const double before = processCpuSeconds();
  usleep(1'000'000);
  const double used = processCpuSeconds() - before;
  RANK_TRUE_MSG(used <= 0.010 * kSlowdown, used << " s of CPU in one idle second");
  ctx.barrier();
  comm.destroy();
}

RANK_BODY(MissingAtInit) {
  const ncclUniqueId id = ctx.id(0, 1);
  ncclComm_t comm = nullptr;
  ncclResult_t result = ncclSuccess;
  const double seconds = timed([&] { result = ncclCommInitRank(&comm, ctx.size, id, ctx.rank); });
  const std::string text = lastError(nullptr);
  RANK_TRUE_MSG(result != ncclSuccess && result != ncclInProgress, resultName(result));
  RANK_TRUE_MSG(seconds > 1.5 && seconds < 4 * kSlowdown, seconds);
  RANK_TRUE(comm == nullptr);
  for (char missing : ctx.args) RANK_MENTIONS(text, std::string(1, missing));
  RANK_MENTIONS(text, "FLEXLINK_INIT_TIMEOUT");
}

void pass(const char* body, int size, How how, const char* args = "") {
  RunOptions o;
  o.size = size;
  o.how = how;
  o.args = args;
  expectRanksPass(body, o);
}

TEST(Wait, LatePeerIsWaitedForWithoutBurningTheCpu) {
  pass("LatePeer", 2, How::kProcesses, "small");
  pass("LatePeer", 2, How::kProcesses, "large");
}

TEST(Wait, LateRankAtInitIsWaitedForWithoutBurningTheCpu) { pass("LateInit", 3, How::kProcesses); }

TEST(Wait, IdleCommunicatorCostsNoCpu) {
  pass("Idle", 2, How::kProcesses);
  pass("Idle", 3, How::kThreads);
}

TEST(Wait, MissingRanksAtInitAreNamedWithinTheLimit) {
  for (const std::vector<int>& absent : {std::vector<int>{2}, {3, 0}}) {
    RunOptions o;
    o.size = 4;
    o.how = How::kProcesses;
    o.env = {"FLEXLINK_INIT_TIMEOUT=2"};
    o.absent = absent;
    for (int rank : absent) o.args += std::to_string(rank);
    expectRanksPass("MissingAtInit", o);
  }
}

}  // namespace
}  // namespace ranktest
