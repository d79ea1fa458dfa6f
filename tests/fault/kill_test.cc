// SPDX-License-Identifier: Apache-2.0
// A rank is killed: in the middle of operations, idle, at creation, in a split. Survivors learn who
// it was within two seconds, every later call fails at once, and a shrunken communicator works.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <sstream>
#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/rank_run.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

constexpr int kReady = 1;      // + rank: the rank is where it shall be hit
constexpr int kKilledAt = 40;  // milliseconds of the monotonic clock, set just before the kill
constexpr int kDone = 41;

constexpr double kPromise = 2.0;

uint32_t nowMillis() { return static_cast<uint32_t>(nowSeconds() * 1000) | 1U; }

// The victims and the operation, from the arguments: "VICTIM[,VICTIM] WHAT COUNT".
struct Plan {
  std::vector<int> victims;
  std::string what;
  size_t count = 0;
  explicit Plan(const std::string& args) {
    std::istringstream in(args);
    std::string list;
    in >> list >> what >> count;
    for (char c : list) {
      if (c != ',') victims.push_back(c - '0');
    }
  }
  bool isVictim(int rank) const {
    for (int v : victims) {
      if (v == rank) return true;
    }
    return false;
  }
};

void checkNamesAVictim(const std::string& text, const Plan& plan, const char* where) {
  for (int v : plan.victims) {
    if (text.find("rank " + std::to_string(v)) != std::string::npos) return;
  }
  fail(where, "\"" + text + "\" names none of the dead ranks");
}

void checkPrompt(RankContext& ctx) {
  const uint32_t killedAt = ctx.wait(kKilledAt);
  const double seconds = static_cast<double>(nowMillis() - killedAt) / 1000;
  RANK_TRUE_MSG(seconds <= kPromise * kSlowdown, seconds << " s after the kill");
  ctx.publish(static_cast<uint64_t>(seconds * 1000));
}

// One operation of the kind `what`; buffers hold size × count elements.
ncclResult_t operate(const Plan& plan, RankContext& ctx, ncclComm_t comm, float* in, float* out,
                     cudaStream_t stream) {
  const size_t n = plan.count;
  if (plan.what == "alltoall") return ncclAlltoAll(in, out, n, ncclFloat32, comm, stream);
  if (plan.what == "broadcast") return ncclBroadcast(in, out, n, ncclFloat32, 0, comm, stream);
  if (plan.what == "allgather") return ncclAllGather(in, out, n, ncclFloat32, comm, stream);
  if (plan.what == "sendrecv") {
    ncclResult_t result = ncclGroupStart();
    if (result == ncclSuccess) {
      result = ncclSend(in, n, ncclFloat32, (ctx.rank + 1) % ctx.size, comm, stream);
    }
    if (result == ncclSuccess) {
      result = ncclRecv(out, n, ncclFloat32, (ctx.rank + ctx.size - 1) % ctx.size, comm, stream);
    }
    const ncclResult_t end = ncclGroupEnd();
    return result != ncclSuccess ? result : end;
  }
  return ncclAllReduce(in, out, n, ncclFloat32, ncclSum, comm, stream);
}

// Everything that must hold on a communicator whose peer died; makes the survivors' child.
void checkAfterLife(RankContext& ctx, Comm& comm, const Plan& plan) {
  float x = 1;
  const auto failsAtOnce = [&](const char* call, const std::function<ncclResult_t()>& body) {
    ncclResult_t result = ncclSuccess;
    const double seconds = timed([&] { result = body(); });
    checkResult(result, ncclRemoteError, call, RANK_WHERE, comm);
    checkNamesAVictim(lastError(comm), plan, RANK_WHERE);
    RANK_TRUE_MSG(seconds < 0.5 * kSlowdown, call << " took " << seconds << " s");
  };
  failsAtOnce("AllReduce",
              [&] { return ncclAllReduce(&x, &x, 1, ncclFloat32, ncclSum, comm, nullptr); });
  failsAtOnce("Send", [&] {
    return ncclSend(&x, 1, ncclFloat32, (ctx.rank + 1) % ctx.size, comm, nullptr);
  });
  ncclComm_t none = nullptr;
  failsAtOnce("Split", [&] { return ncclCommSplit(comm, 0, 0, &none, nullptr); });
  ncclResult_t state = ncclSuccess;
  RANK_OK(ncclCommGetAsyncError(comm, &state));
  RANK_EQ(state, ncclRemoteError);

  Comm child;
  std::vector<int> excluded = plan.victims;
  const double shrink = timed([&] {
    RANK_OK(ncclCommShrink(comm, excluded.data(), static_cast<int>(excluded.size()), child.put(),
                           nullptr, NCCL_SHRINK_ABORT));
  });
  RANK_TRUE_MSG(shrink <= kPromise * kSlowdown, shrink);
  const double abort = timed([&] { comm.abort(); });
  RANK_TRUE_MSG(abort <= kPromise * kSlowdown, abort);
  const int left = ctx.size - static_cast<int>(plan.victims.size());
  std::vector<int32_t> data(10'000, 1);
  for (int round = 0; round < 5; ++round) {
    data.assign(data.size(), 1);
    RANK_OK(
        ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, child, nullptr));
    for (int32_t v : data) RANK_EQ(v, left);
  }
  child.destroy();
}

RANK_BODY(KilledInOperations) {
  const Plan plan(ctx.args);
  Comm comm = makeWorld(ctx);
  Stream stream;
  const bool async = plan.what == "stream";
  std::vector<float> in(plan.count * static_cast<size_t>(ctx.size), 1);
  std::vector<float> out(in.size());
  RANK_OK(operate(plan, ctx, comm, in.data(), out.data(), nullptr));
  ctx.set(kReady + ctx.rank);
  ncclResult_t result = ncclSuccess;
  const double end = nowSeconds() + 30 * kSlowdown;
  while (result == ncclSuccess && nowSeconds() < end) {
    result = operate(plan, ctx, comm, in.data(), out.data(),
                     async ? static_cast<cudaStream_t>(stream) : nullptr);
    if (async && result == ncclSuccess) result = flexlinkStreamSynchronize(stream);
  }
  checkResult(result, ncclRemoteError, "the operation that was hit", RANK_WHERE, comm);
  checkNamesAVictim(lastError(comm), plan, RANK_WHERE);
  checkPrompt(ctx);
  checkAfterLife(ctx, comm, plan);
}

// The victim sleeps outside of the library while the others wait for it.
RANK_BODY(KilledWhileOthersWait) {
  const Plan plan(ctx.args);
  Comm comm = makeWorld(ctx);
  std::vector<float> data(plan.count, 1);
  ctx.set(kReady + ctx.rank);
  while (plan.isVictim(ctx.rank)) pause();
  RANK_IS(ncclAllReduce(data.data(), data.data(), data.size(), ncclFloat32, ncclSum, comm, nullptr),
          ncclRemoteError);
  checkNamesAVictim(lastError(comm), plan, RANK_WHERE);
  checkPrompt(ctx);
  checkAfterLife(ctx, comm, plan);
}

// Nobody is in a call: the death shows in the asynchronous error.
RANK_BODY(KilledWhileAllAreIdle) {
  const Plan plan(ctx.args);
  Comm comm = makeWorld(ctx);
  ctx.set(kReady + ctx.rank);
  while (plan.isVictim(ctx.rank)) pause();
  ctx.wait(kKilledAt);
  ncclResult_t state = ncclSuccess;
  const double end = nowSeconds() + 10 * kSlowdown;
  while (state == ncclSuccess && nowSeconds() < end) {
    RANK_OK(ncclCommGetAsyncError(comm, &state));
    usleep(5000);
  }
  RANK_EQ(state, ncclRemoteError);
  checkPrompt(ctx);
  checkAfterLife(ctx, comm, plan);
}

// All but the last rank are in ncclCommInitRank when one of them dies; the last one comes after.
RANK_BODY(KilledInInit) {
  const Plan plan(ctx.args);
  const ncclUniqueId id = ctx.id(0);
  const bool last = ctx.rank == ctx.size - 1;
  ctx.set(kReady + ctx.rank);
  if (last) {
    ctx.wait(kKilledAt);
    usleep(300'000);
  }
  ncclComm_t comm = nullptr;
  RANK_IS(ncclCommInitRank(&comm, ctx.size, id, ctx.rank), ncclRemoteError);
  checkNamesAVictim(lastError(nullptr), plan, RANK_WHERE);
  checkPrompt(ctx);
  if (last) ctx.set(kDone);
  if (ctx.rank == 0) ctx.wait(kDone);  // who made the id stays
}

// The process that made the id is gone: those inside and those that come later learn it.
RANK_BODY(RootKilledInInit) {
  const Plan plan(ctx.args);
  const ncclUniqueId id = ctx.id(0);
  ctx.set(kReady + ctx.rank);
  if (ctx.rank == ctx.size - 1) {
    ctx.wait(kKilledAt);
    usleep(300'000);
  }
  ncclComm_t comm = nullptr;
  RANK_IS(ncclCommInitRank(&comm, ctx.size, id, ctx.rank), ncclRemoteError);
  checkPrompt(ctx);
}

RANK_BODY(KilledInSplit) {
  const Plan plan(ctx.args);
  Comm comm = makeWorld(ctx);
  ctx.set(kReady + ctx.rank);
  while (plan.isVictim(ctx.rank)) pause();
  ncclComm_t child = nullptr;
  RANK_IS(ncclCommSplit(comm, 0, ctx.rank, &child, nullptr), ncclRemoteError);
  checkNamesAVictim(lastError(comm), plan, RANK_WHERE);
  checkPrompt(ctx);
  checkAfterLife(ctx, comm, plan);
}

// Nobody communicates any more: leaving must not wait for the dead.
RANK_BODY(KilledBeforeDestroy) {
  const Plan plan(ctx.args);
  Comm comm = makeWorld(ctx);
  ctx.set(kReady + ctx.rank);
  while (plan.isVictim(ctx.rank)) pause();
  ctx.wait(kKilledAt);
  const ncclComm_t handle = comm.release();
  if (plan.what == "finalize") ncclCommFinalize(handle);
  ncclCommDestroy(handle);
  checkPrompt(ctx);
}

// The parent is hit while only a child works: both end, each naming the victim by its own rank.
RANK_BODY(KilledWithChildren) {
  const Plan plan(ctx.args);
  Comm comm = makeWorld(ctx);
  Comm child;
  RANK_OK(ncclCommSplit(comm, 0, -ctx.rank, child.put(), nullptr));
  ctx.set(kReady + ctx.rank);
  while (plan.isVictim(ctx.rank)) pause();
  float x = 1;
  RANK_IS(ncclAllReduce(&x, &x, 1, ncclFloat32, ncclSum, child, nullptr), ncclRemoteError);
  RANK_MENTIONS(lastError(child), "rank " + std::to_string(ctx.size - 1 - plan.victims[0]));
  checkPrompt(ctx);
  child.abort();
  // The other survivor may have told us of the death before the kernel did: the promise is 2 s.
  ncclResult_t seen = ncclSuccess;
  for (int64_t end = nowMillis() + 2000; seen == ncclSuccess && nowMillis() < end;) {
    RANK_OK(ncclCommGetAsyncError(comm, &seen));
  }
  RANK_EQ(seen, ncclRemoteError);
  checkAfterLife(ctx, comm, plan);
}

struct Hit {
  const char* body;
  int size;
  How how;
  const char* args;
  int delayMillis;
  const char* hosts = "";
  const char* lanes = "";
  const char* links = "";
};

// Between a second copy of the library and our own lane.
constexpr const char* kLanes = "vendor:1,memory:1";

void hit(const Hit& h) {
  SCOPED_TRACE(std::string(h.body) + " " + h.args + " " + h.hosts);
  const Plan plan(h.args);
  RunOptions o;
  o.size = h.size;
  o.how = h.how;
  o.args = h.args;
  o.hosts = h.hosts;
  o.lanes = h.lanes;
  if (*h.links != '\0') o.env.push_back(std::string("FLEXLINK_LINKS=") + h.links);
  o.mayDie = plan.victims;
  RankRun run(h.body, o);
  run.start();
  for (int rank = 0; rank < h.size; ++rank) {
    ASSERT_TRUE(run.waitFlag(kReady + rank, 20)) << run.finish().report();
  }
  usleep(static_cast<useconds_t>(h.delayMillis) * 1000);
  run.setFlag(kKilledAt, nowMillis());
  run.signalRank(plan.victims[0], SIGKILL);
  const Outcome out = run.finish();
  EXPECT_TRUE(out.ok()) << out.report();
}

TEST(Kill, InSmallAllReducesIsARemoteErrorOnAllSurvivors) {
  hit({"KilledInOperations", 3, How::kProcesses, "2 allreduce 4", 60});
  hit({"KilledInOperations", 2, How::kProcesses, "0 allreduce 4", 60});
}
TEST(Kill, InLargeAllReducesIsARemoteErrorOnAllSurvivors) {
  for (int delay : {20, 47, 81}) {
    hit({"KilledInOperations", 3, How::kProcesses, "1 allreduce 2000000", delay});
  }
  hit({"KilledInOperations", 3, How::kProcesses, "0 allreduce 2000000", 50});
}
TEST(Kill, InOtherCollectivesIsARemoteErrorOnAllSurvivors) {
  hit({"KilledInOperations", 4, How::kProcesses, "3 alltoall 200000", 50});
  hit({"KilledInOperations", 4, How::kProcesses, "1 broadcast 1000000", 50});
  hit({"KilledInOperations", 4, How::kProcesses, "0 allgather 200000", 50});
}
TEST(Kill, InSendsAndReceivesIsARemoteErrorOnAllSurvivors) {
  hit({"KilledInOperations", 4, How::kProcesses, "2 sendrecv 500000", 50});
}
TEST(Kill, InWorkOnAStreamIsARemoteErrorOnAllSurvivors) {
  hit({"KilledInOperations", 3, How::kProcesses, "2 stream 300000", 50});
}
TEST(Kill, OfAProcessWithTwoRanksIsARemoteErrorOnAllSurvivors) {
  hit({"KilledInOperations", 4, How::kMixed, "1,3 allreduce 300000", 50});
}
TEST(Kill, WhileOthersWaitEndsTheirWait) {
  hit({"KilledWhileOthersWait", 3, How::kProcesses, "1 allreduce 1", 200});
  hit({"KilledWhileOthersWait", 3, How::kProcesses, "0 allreduce 1000000", 200});
}
TEST(Kill, WhileAllAreIdleShowsInTheAsyncError) {
  hit({"KilledWhileAllAreIdle", 3, How::kProcesses, "2 allreduce 1", 100});
}
TEST(Kill, InInitEndsTheOthersInit) { hit({"KilledInInit", 4, How::kProcesses, "1 init 0", 300}); }
TEST(Kill, OfTheProcessThatMadeTheIdEndsTheOthersInit) {
  hit({"RootKilledInInit", 3, How::kProcesses, "0 init 0", 300});
}
TEST(Kill, InSplitEndsTheOthersSplit) {
  hit({"KilledInSplit", 3, How::kProcesses, "1 split 0", 200});
  hit({"KilledInSplit", 3, How::kProcesses, "0 split 0", 200});
}
TEST(Kill, BeforeDestroyDelaysNobody) {
  hit({"KilledBeforeDestroy", 3, How::kProcesses, "1 destroy 0", 50});
  hit({"KilledBeforeDestroy", 3, How::kProcesses, "0 finalize 0", 50});
}
TEST(Kill, HitsTheParentAndItsChildren) {
  hit({"KilledWithChildren", 3, How::kProcesses, "2 allreduce 1", 200});
}

TEST(KillBetweenHosts, InOperationsIsARemoteErrorOnAllSurvivors) {
  for (const char* hosts : {"0123", "0011", "0111"}) {
    hit({"KilledInOperations", 4, How::kProcesses, "1 allreduce 4", 60, hosts});
    hit({"KilledInOperations", 4, How::kProcesses, "3 allreduce 2000000", 50, hosts});
    hit({"KilledInOperations", 4, How::kProcesses, "0 allgather 200000", 50, hosts});
    hit({"KilledInOperations", 4, How::kProcesses, "2 sendrecv 500000", 50, hosts});
    hit({"KilledInOperations", 4, How::kProcesses, "2 stream 300000", 50, hosts});
  }
}
TEST(KillBetweenHosts, WhileOthersWaitEndsTheirWait) {
  hit({"KilledWhileOthersWait", 3, How::kProcesses, "1 allreduce 1000000", 200, "012"});
  hit({"KilledWhileOthersWait", 3, How::kProcesses, "2 allreduce 1", 200, "001"});
  hit({"KilledWhileOthersWait", 3, How::kProcesses, "0 allreduce 1000", 200, "001"});
}
TEST(KillBetweenHosts, WhileAllAreIdleShowsInTheAsyncError) {
  hit({"KilledWhileAllAreIdle", 3, How::kProcesses, "2 allreduce 1", 100, "001"});
}
TEST(KillBetweenHosts, InSplitEndsTheOthersSplit) {
  hit({"KilledInSplit", 3, How::kProcesses, "1 split 0", 200, "012"});
  hit({"KilledInSplit", 3, How::kProcesses, "0 split 0", 200, "001"});
}
TEST(KillBetweenHosts, HitsTheParentAndItsChildren) {
  hit({"KilledWithChildren", 3, How::kProcesses, "2 allreduce 1", 200, "001"});
}
TEST(KillBetweenHosts, BeforeDestroyDelaysNobody) {
  hit({"KilledBeforeDestroy", 3, How::kProcesses, "1 destroy 0", 50, "012"});
  hit({"KilledBeforeDestroy", 3, How::kProcesses, "0 finalize 0", 50, "001"});
}

TEST(KillOverPcie, InOperationsIsARemoteErrorOnAllSurvivors) {
  for (const char* links : {"pcie", "pcie,tcp:lo"}) {
    hit({"KilledInOperations", 3, How::kProcesses, "1 allreduce 2000000", 50, "012", "", links});
    hit({"KilledInOperations", 3, How::kProcesses, "2 sendrecv 500000", 50, "012", "", links});
    hit({"KilledWhileOthersWait", 3, How::kProcesses, "0 allreduce 1000", 200, "012", "", links});
  }
}

TEST(KillOverLanes, InOperationsIsARemoteErrorOnAllSurvivors) {
  for (const char* hosts : {"", "0011"}) {
    hit({"KilledInOperations", 4, How::kProcesses, "1 allreduce 4", 60, hosts, kLanes});
    hit({"KilledInOperations", 4, How::kProcesses, "3 allreduce 2000000", 50, hosts, kLanes});
    hit({"KilledInOperations", 4, How::kProcesses, "0 allgather 200000", 50, hosts, kLanes});
    hit({"KilledInOperations", 4, How::kProcesses, "2 sendrecv 500000", 50, hosts, kLanes});
  }
}
TEST(KillOverLanes, WhileOthersWaitEndsTheirWait) {
  hit({"KilledWhileOthersWait", 3, How::kProcesses, "1 allreduce 1000000", 200, "", kLanes});
  hit({"KilledWhileOthersWait", 3, How::kProcesses, "0 allreduce 1000000", 200, "",
       "vendor,memory"});
}
TEST(KillOverLanes, InInitEndsTheOthersInit) {
  hit({"KilledInInit", 4, How::kProcesses, "1 init 0", 300, "", kLanes});
}

}  // namespace
}  // namespace ranktest
