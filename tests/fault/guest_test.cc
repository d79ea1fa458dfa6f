// SPDX-License-Identifier: Apache-2.0
// A good guest in its process: fork, exit without destroy, hundreds of communicators, silence.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <sstream>
#include <thread>
#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/proc.h"
#include "support/rank_run.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

void checkSum(ncclComm_t comm, int size, size_t count = 1000) {
  std::vector<int32_t> data(count, 1);
  RANK_OK(ncclAllReduce(data.data(), data.data(), count, ncclInt32, ncclSum, comm, nullptr));
  for (int32_t x : data) RANK_EQ(x, size);
}

// Waits for a child of fork() for at most 10 s; its exit status, or -1.
int childStatus(pid_t pid) {
  const double end = nowSeconds() + 10 * kSlowdown;
  int status = 0;
  while (nowSeconds() < end) {
    if (waitpid(pid, &status, WNOHANG) == pid) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    usleep(2000);
  }
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  return -1;
}

RANK_BODY(ForkedChildThatDoesNotCommunicate) {
  Comm comm = makeWorld(ctx);
  void* shared = nullptr;
  RANK_OK(ncclMemAlloc(&shared, 8192));
  auto* words = static_cast<int32_t*>(shared);
  words[0] = 41;
  for (bool plainExit : {true, false}) {
    checkSum(comm, ctx.size);
    const pid_t pid = fork();
    if (pid == 0) {
      // ncclMemAlloc memory is still there for the child.
      const int status = words[0] == 41 ? 0 : 3;
      if (plainExit) exit(status);
      _exit(status);
    }
    RANK_TRUE(pid > 0);
    checkSum(comm, ctx.size, 200'000);
    RANK_EQ(childStatus(pid), 0);
    checkSum(comm, ctx.size);
  }
  RANK_OK(ncclMemFree(shared));
  comm.destroy();
}

RANK_BODY(ForkedChildThatCalls) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  checkSum(comm, ctx.size);
  const pid_t pid = fork();
  if (pid == 0) {
    int32_t x = 1;
    if (ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, comm, nullptr) != ncclInvalidUsage) _exit(10);
    if (lastError(comm).find("fork") == std::string::npos) _exit(11);
    if (ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, comm, stream) != ncclInvalidUsage) _exit(12);
    ncclComm_t child = nullptr;
    if (ncclCommSplit(comm, 0, 0, &child, nullptr) != ncclInvalidUsage) _exit(13);
    ncclUniqueId id;
    if (ncclGetUniqueId(&id) != ncclInvalidUsage) _exit(14);
    _exit(0);
  }
  RANK_TRUE(pid > 0);
  RANK_EQ(childStatus(pid), 0);
  checkSum(comm, ctx.size, 100'000);
  comm.destroy();
}

// The parent never touched the library: its child may use it, and a child's child of a user may not
// disturb it.
RANK_BODY(ForkBeforeUse) {
  const pid_t pid = fork();
  if (pid == 0) {
    ncclUniqueId id;
    ncclComm_t comm = nullptr;
    if (ncclGetUniqueId(&id) != ncclSuccess) _exit(10);
    if (ncclCommInitRank(&comm, 1, id, 0) != ncclSuccess) _exit(11);
    int32_t x = 7;
    if (ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, comm, nullptr) != ncclSuccess) _exit(12);
    _exit(x == 7 && ncclCommDestroy(comm) == ncclSuccess ? 0 : 13);
  }
  RANK_TRUE(pid > 0);
  RANK_EQ(childStatus(pid), 0);
}

RANK_BODY(ExitWithoutDestroy) {
  static std::atomic<ncclComm_t> kept;  // reachable at exit, as in a program that forgets it
  Comm comm = makeWorld(ctx);
  checkSum(comm, ctx.size);
  ctx.barrier();
  kept = comm.release();
  if (ctx.rank == 1) usleep(300'000);
}

// A stream's work that can never complete is no reason to hang at exit.
RANK_BODY(ExitWithWorkInFlight) {
  static cudaStream_t stream;
  static std::vector<int32_t>* data;
  static ncclComm_t kept;
  kept = makeWorld(ctx).release();
  data = new std::vector<int32_t>(500'000, 1);
  RANK_OK(flexlinkStreamCreate(&stream));
  checkSum(kept, ctx.size);
  ctx.barrier();
  if (ctx.rank == 0) {
    RANK_OK(
        ncclAllReduce(data->data(), data->data(), data->size(), ncclInt32, ncclSum, kept, stream));
  }
  ctx.barrier();
}

// The main thread ends the process while another thread is inside an operation.
RANK_BODY(ExitWhileAThreadIsInside) {
  static ncclComm_t kept;
  static int32_t x = 1;
  kept = makeWorld(ctx).release();
  checkSum(kept, ctx.size);
  ctx.barrier();
  if (ctx.rank == 0) {
    std::thread([] { ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, kept, nullptr); }).detach();
    usleep(200'000);
  } else {
    usleep(400'000);
  }
}

// A program's own signals interrupt system calls, not communication.
RANK_BODY(SignalsAllTheTime) {
  struct sigaction action {};
  action.sa_handler = [](int) {};  // without SA_RESTART: every call sees EINTR
  sigaction(SIGALRM, &action, nullptr);
  const itimerval every{{0, 500}, {0, 500}};
  setitimer(ITIMER_REAL, &every, nullptr);
  for (int round = 0; round < 3; ++round) {
    Comm comm = makeWorld(ctx, round);
    Stream stream;
    for (size_t count : {size_t{1}, size_t{3000}, size_t{1'000'000}}) {
      std::vector<int32_t> data(count, 1);
      for (int i = 0; i < 5; ++i) {
        RANK_OK(ncclAllReduce(data.data(), data.data(), count, ncclInt32, ncclMax, comm,
                              i % 2 == 0 ? nullptr : static_cast<cudaStream_t>(stream)));
        stream.sync();
      }
      for (int32_t x : data) RANK_EQ(x, 1);
    }
    Comm child;
    RANK_OK(ncclCommSplit(comm, 0, 0, child.put(), nullptr));
    checkSum(child, ctx.size);
    child.destroy();
    comm.destroy();
  }
  const itimerval never{};
  setitimer(ITIMER_REAL, &never, nullptr);
}

struct Rounds {
  int warm = 0;
  int rounds = 0;
  explicit Rounds(const std::string& args) { std::istringstream(args) >> warm >> rounds; }
};

// Ids are made anew for each round: the board's slot is reused between two barriers.
Comm freshWorld(RankContext& ctx) {
  if (ctx.rank == 0) RANK_OK(ncclGetUniqueId(&ctx.board->ids[0]));
  ctx.barrier();
  Comm comm;
  const ncclUniqueId id = ctx.board->ids[0];
  RANK_OK(ncclCommInitRank(comm.put(), ctx.size, id, ctx.rank));
  return comm;
}

RANK_BODY(MakeAndDestroyMany) {
  const Rounds plan(ctx.args);
  ProcessCounts before;
  std::string mapsBefore;
  for (int round = 0; round < plan.warm + plan.rounds; ++round) {
    if (round == plan.warm) {
      usleep(200'000);  // as at the end
      ctx.barrier();
      usleep(200'000);  // as below: both counts are taken at rest
      before = countsOf(getpid());
      mapsBefore = mappingsText(getpid());
      ctx.barrier();
    }
    Comm comm = freshWorld(ctx);
    checkSum(comm, ctx.size, 20'000);
    if (round % 4 == 1) {
      Comm child;
      RANK_OK(ncclCommSplit(comm, 0, 0, child.put(), nullptr));
      checkSum(child, ctx.size);
      child.destroy();
    }
    if (round % 4 == 3) {
      comm.abort();
    } else {
      comm.destroy();
    }
    ctx.barrier();
  }
  usleep(200'000);  // what a peer closes arrives a little later
  ctx.barrier();
  const ProcessCounts after = countsOf(getpid());
  RANK_EQ(after.fds, before.fds);
  RANK_EQ(after.threads, before.threads);
  RANK_TRUE_MSG(after.mappings == before.mappings, before.mappings << " -> " << after.mappings
                                                                   << "\n"
                                                                   << mapsBefore << "---\n"
                                                                   << mappingsText(getpid()));
  const double growth =
      static_cast<double>(after.rssKiB - before.rssKiB) / static_cast<double>(before.rssKiB);
  // A sanitizer's allocator keeps freed memory.
  RANK_TRUE_MSG(kSanitized || (growth <= 0.01 && growth >= -0.01),
                before.rssKiB << " KiB -> " << after.rssKiB << " KiB");
  ctx.barrier();
}

RANK_BODY(ManyAtOnce) {
  std::thread([] {}).join();  // thread sanitizer's own thread comes with the first one
  const int threadsBefore = countsOf(getpid()).threads;
  std::vector<Comm> comms;
  for (int i = 0; i < 30; ++i) comms.push_back(freshWorld(ctx));
  for (Comm& comm : comms) checkSum(comm, ctx.size);
  const int threads = countsOf(getpid()).threads;
  RANK_TRUE_MSG(threads - threadsBefore <= 2, threadsBefore << " -> " << threads << " threads");
  for (Comm& comm : comms) comm.destroy();
}

// Also in a failure nothing is printed unless the user asked for a log.
RANK_BODY(QuietFailure) {
  Comm comm = makeWorld(ctx);
  int32_t x[2] = {1, 1};
  RANK_IS(ncclAllReduce(x, x, ctx.rank == 0 ? 1 : 2, ncclInt32, ncclSum, comm, nullptr),
          ncclInvalidUsage);
  comm.abort();
}

Outcome pass(const char* body, int size, How how, const char* args = "") {
  RunOptions o;
  o.size = size;
  o.how = how;
  o.args = args;
  o.deadlineSeconds = 100;
  return expectRanksPass(body, o);
}

TEST(Fork, ChildThatDoesNotCommunicateRunsAndExits) {
  RunOptions o;
  o.size = 2;
  // The child of a thread has lost the other threads' stacks, and with them what they own.
  o.env = {"ASAN_OPTIONS=detect_leaks=0"};
  for (How how : {How::kProcesses, How::kThreads}) {
    o.how = how;
    expectRanksPass("ForkedChildThatDoesNotCommunicate", o);
  }
}
TEST(Fork, CallInTheChildIsInvalidUsageAndHurtsNobody) {
  pass("ForkedChildThatCalls", 2, How::kProcesses);
}
TEST(Fork, BeforeTheFirstCallTheChildMayUseTheLibrary) {
  pass("ForkBeforeUse", 1, How::kProcesses);
}

TEST(Exit, WithoutDestroyNeitherHangsNorCrashes) {
  for (How how : {How::kProcesses, How::kThreads}) {
    EXPECT_LT(pass("ExitWithoutDestroy", 2, how).seconds, 5 * kSlowdown);
  }
}
TEST(Exit, WithWorkInFlightNeitherHangsNorCrashes) {
  EXPECT_LT(pass("ExitWithWorkInFlight", 2, How::kProcesses).seconds, 5 * kSlowdown);
}
TEST(Exit, WhileAnotherThreadIsInsideNeitherHangsNorCrashes) {
  EXPECT_LT(pass("ExitWhileAThreadIsInside", 2, How::kProcesses).seconds, 5 * kSlowdown);
}

TEST(Signals, OfTheProgramDoNotDisturb) {
  pass("SignalsAllTheTime", 3, How::kProcesses);
  pass("SignalsAllTheTime", 2, How::kThreads);
}

TEST(Leaks, TwoHundredCommunicatorsLeaveNothingBehind) {
  pass("MakeAndDestroyMany", 2, How::kProcesses, "20 200");
}
TEST(Leaks, CommunicatorsOfThreadsLeaveNothingBehind) {
  pass("MakeAndDestroyMany", 1, How::kThreads, "20 200");
}
TEST(Leaks, ThirtyCommunicatorsShareTwoThreads) { pass("ManyAtOnce", 2, How::kProcesses); }

TEST(Silence, NothingIsPrintedWithoutNcclDebug) {
  RunOptions o;
  o.size = 2;
  o.how = How::kProcesses;
  o.env = {"NCCL_DEBUG"};
  EXPECT_EQ(expectRanksPass("QuietFailure", o).output, "");
  EXPECT_EQ(expectRanksPass("ExitWithoutDestroy", o).output, "");
}

}  // namespace
}  // namespace ranktest
