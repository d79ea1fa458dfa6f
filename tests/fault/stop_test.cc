// SPDX-License-Identifier: Apache-2.0
// A rank is stopped, the others give up (time limit or abort), and it wakes up again: from then on
// no byte of the others' buffers may change.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <sstream>
#include <thread>
#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/rank_run.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

constexpr int kReady = 1;  // + rank
constexpr int kStopped = 30;
constexpr int kGivenUp = 31;  // + rank
constexpr int kWoken = 50;
constexpr int kVictim = 2;
constexpr unsigned char kMine = 0x3c;

struct Buffers {
  unsigned char* in = nullptr;
  unsigned char* out = nullptr;
  const size_t bytes;
  const bool shared;

  Buffers(bool shared, size_t size) : bytes(size), shared(shared) {
    void* a = nullptr;
    void* b = nullptr;
    if (shared) {
      RANK_OK(ncclMemAlloc(&a, size));
      RANK_OK(ncclMemAlloc(&b, size));
    } else {
      a = calloc(1, size);
      b = calloc(1, size);
    }
    in = static_cast<unsigned char*>(a);
    out = static_cast<unsigned char*>(b);
  }
  ~Buffers() {
    for (void* at : {in, out}) {
      if (shared) {
        ncclMemFree(at);
      } else {
        free(at);
      }
    }
  }
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;

  void claim() const {
    memset(in, kMine, bytes);
    memset(out, kMine, bytes);
  }
  void checkMine() const {
    for (size_t i = 0; i < bytes; ++i) {
      RANK_TRUE_MSG(in[i] == kMine && out[i] == kMine,
                    "byte " << i << " of " << bytes << " changed after the error");
    }
  }
};

ncclResult_t operate(const std::string& what, RankContext& ctx, ncclComm_t comm, const Buffers& b) {
  const size_t n = b.bytes / sizeof(float);
  const size_t part = n / static_cast<size_t>(ctx.size);
  if (what == "alltoall") return ncclAlltoAll(b.in, b.out, part, ncclFloat32, comm, nullptr);
  if (what == "broadcast")
    return ncclBroadcast(b.in, b.out, n, ncclFloat32, kVictim, comm, nullptr);
  return ncclAllReduce(b.in, b.out, n, ncclFloat32, ncclSum, comm, nullptr);
}

// args: WHAT malloc|ncclMemAlloc timeout|abort
RANK_BODY(StoppedRank) {
  std::string what;
  std::string memory;
  std::string way;
  std::istringstream(ctx.args) >> what >> memory >> way;
  const Buffers buffers(memory == "ncclMemAlloc", size_t{12} << 20);
  const ncclComm_t comm = makeWorld(ctx).release();
  RANK_OK(operate(what, ctx, comm, buffers));
  ctx.set(kReady + ctx.rank);

  std::thread aborter;
  if (way == "abort" && ctx.rank != kVictim) {
    aborter = std::thread([&ctx, comm] {
      waitChange(ctx.board->flags[kStopped], 0, 30 * kSlowdown, nullptr);
      usleep(300'000);
      ncclCommAbort(comm);
    });
  }
  ncclResult_t result = ncclSuccess;
  const double end = nowSeconds() + 30 * kSlowdown;
  while (result == ncclSuccess && nowSeconds() < end) result = operate(what, ctx, comm, buffers);
  const std::string text = lastError(nullptr);
  if (aborter.joinable()) {
    aborter.join();
  } else {
    ncclCommAbort(comm);
  }
  RANK_TRUE_MSG(result != ncclSuccess && result != ncclInProgress, resultName(result));
  if (ctx.rank == kVictim) return;  // woken up: an error as well, and nothing else
  if (way == "timeout") {
    RANK_EQ(result, ncclTimeout);
    RANK_MENTIONS(text, "rank " + std::to_string(kVictim));
  }
  buffers.claim();
  ctx.set(kGivenUp + ctx.rank);
  ctx.wait(kWoken);
  usleep(400'000);
  buffers.checkMine();
}

void stopAndWake(const std::string& args, int delayMillis) {
  SCOPED_TRACE(args + ", stopped after " + std::to_string(delayMillis) + " ms");
  RunOptions o;
  o.size = 3;
  o.how = How::kProcesses;
  o.args = args;
  if (args.find("timeout") != std::string::npos) o.env = {"FLEXLINK_TIMEOUT=1"};
  RankRun run("StoppedRank", o);
  run.start();
  for (int rank = 0; rank < o.size; ++rank) ASSERT_TRUE(run.waitFlag(kReady + rank, 20));
  usleep(static_cast<useconds_t>(delayMillis) * 1000);
  run.signalRank(kVictim, SIGSTOP);
  run.setFlag(kStopped);
  bool gaveUp = true;
  for (int rank = 0; rank < o.size; ++rank) {
    if (rank != kVictim) gaveUp = run.waitFlag(kGivenUp + rank, 10) && gaveUp;
  }
  run.signalRank(kVictim, SIGCONT);
  run.setFlag(kWoken);
  const Outcome out = run.finish();
  EXPECT_TRUE(gaveUp && out.ok()) << out.report();
}

TEST(Stop, TimeLimitNamesTheStoppedRankAndItsWakingChangesNothing) {
  int delay = 15;
  for (const char* what : {"allreduce", "alltoall", "broadcast"}) {
    stopAndWake(std::string(what) + " malloc timeout", delay += 13);
  }
}

TEST(Stop, SharedMemoryIsSafeFromAWakingRank) {
  int delay = 15;
  for (const char* what : {"allreduce", "allreduce", "alltoall", "broadcast"}) {
    stopAndWake(std::string(what) + " ncclMemAlloc timeout", delay += 13);
  }
}

TEST(Stop, AbortedRanksBuffersAreSafeFromAWakingRank) {
  stopAndWake("allreduce malloc abort", 33);
  stopAndWake("allreduce ncclMemAlloc abort", 41);
  stopAndWake("alltoall ncclMemAlloc abort", 57);
}

}  // namespace
}  // namespace ranktest
