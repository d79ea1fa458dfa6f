// SPDX-License-Identifier: Apache-2.0
// One-sided work: windows, puts with signals, waits.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/rank_run.h"
#include "support/rank_suite.h"

namespace ranktest {
namespace {

// ncclMemAlloc memory that is a window on all ranks.
class Window {
 public:
  Window(ncclComm_t comm, size_t bytes, int flags) : comm_(comm) {
    RANK_OK(ncclMemAlloc(&at_, bytes));
    RANK_OK(ncclCommWindowRegister(comm, at_, bytes, &win_, flags));
    RANK_TRUE(win_ != nullptr);
  }
  void close() {
    RANK_OK(ncclCommWindowDeregister(comm_, win_));
    RANK_OK(ncclMemFree(at_));
  }
  int32_t* data() const { return static_cast<int32_t*>(at_); }
  ncclWindow_t win() const { return win_; }

 private:
  ncclComm_t comm_;
  void* at_ = nullptr;
  ncclWindow_t win_ = nullptr;
};

// Every rank puts a block into every other rank's window at its own place, several times.
RANK_BODY(PutToAll) {
  Comm comm = makeWorld(ctx);
  Stream host;
  const cudaStream_t stream = ctx.args == "stream" ? static_cast<cudaStream_t>(host) : nullptr;
  constexpr size_t kCount = 30'000;
  const int n = ctx.size;
  Window window(comm, n * kCount * sizeof(int32_t), NCCL_WIN_COLL_SYMMETRIC);
  void* user = nullptr;
  RANK_OK(ncclWinGetUserPtr(comm, window.win(), &user));
  RANK_TRUE(user == window.data());
  std::vector<int32_t> mine(kCount);
  for (int round = 1; round <= 4; ++round) {
    for (size_t i = 0; i < kCount; ++i) {
      mine[i] = ctx.rank * 1'000'000 + round * 100'000 + static_cast<int32_t>(i);
    }
    RANK_OK(ncclGroupStart());
    for (int peer = 0; peer < n; ++peer) {
      RANK_OK(ncclPutSignal(mine.data(), kCount, ncclInt32, peer, window.win(),
                            static_cast<size_t>(ctx.rank) * kCount * sizeof(int32_t), 0, 0, 0, comm,
                            stream));
    }
    RANK_OK(ncclGroupEnd());
    std::vector<ncclWaitSignalDesc_t> waits(n);
    for (int peer = 0; peer < n; ++peer) waits[peer] = {1, peer, 0, 0};
    RANK_OK(ncclWaitSignal(n, waits.data(), comm, stream));
    if (stream != nullptr) host.sync();
    for (int peer = 0; peer < n; ++peer) {
      for (size_t i = 0; i < kCount; ++i) {
        RANK_EQ(window.data()[static_cast<size_t>(peer) * kCount + i],
                peer * 1'000'000 + round * 100'000 + static_cast<int32_t>(i));
      }
    }
    ctx.barrier();  // the next round writes to the same places
  }
  window.close();
  comm.destroy();
}

// Rank 0 signals without data; waits count signals, whenever they came.
RANK_BODY(SignalsAreCounted) {
  Comm comm = makeWorld(ctx);
  Window window(comm, 4096, NCCL_WIN_DEFAULT);
  if (ctx.rank == 0) {
    for (int peer = 1; peer < ctx.size; ++peer) {
      for (int i = 0; i < 5; ++i) RANK_OK(ncclSignal(peer, 0, 0, 0, comm, nullptr));
    }
    ctx.set(1);
  } else {
    ctx.wait(1);
    ncclWaitSignalDesc_t three{3, 0, 0, 0};
    ncclWaitSignalDesc_t two{2, 0, 0, 0};
    RANK_OK(ncclWaitSignal(1, &three, comm, nullptr));
    RANK_OK(ncclWaitSignal(1, &two, comm, nullptr));
  }
  ctx.barrier();
  window.close();
  comm.destroy();
}

// A signal comes after all puts that its sender issued to that peer before.
RANK_BODY(SignalFollowsPuts) {
  Comm comm = makeWorld(ctx);
  constexpr int kPuts = 50;
  Window window(comm, kPuts * 4096 * sizeof(int32_t), NCCL_WIN_DEFAULT);
  std::vector<int32_t> block(4096);
  if (ctx.rank == 0) {
    for (int p = 0; p < kPuts; ++p) {
      block.assign(4096, p + 1);
      RANK_OK(ncclPutSignal(block.data(), 4096, ncclInt32, 1, window.win(),
                            static_cast<size_t>(p) * 4096 * sizeof(int32_t), 0, 0, 0, comm,
                            nullptr));
    }
  } else if (ctx.rank == 1) {
    ncclWaitSignalDesc_t all{kPuts, 0, 0, 0};
    RANK_OK(ncclWaitSignal(1, &all, comm, nullptr));
    for (int p = 0; p < kPuts; ++p) {
      for (int i = 0; i < 4096; ++i) RANK_EQ(window.data()[p * 4096 + i], p + 1);
    }
  }
  ctx.barrier();
  window.close();
  comm.destroy();
}

// A window is also an ordinary buffer of collectives.
RANK_BODY(WindowInCollectives) {
  Comm comm = makeWorld(ctx);
  constexpr size_t kCount = 100'000;
  Window window(comm, kCount * sizeof(int32_t), NCCL_WIN_COLL_SYMMETRIC);
  for (size_t i = 0; i < kCount; ++i) window.data()[i] = static_cast<int32_t>(i) + ctx.rank;
  RANK_OK(ncclAllReduce(window.data(), window.data(), kCount, ncclInt32, ncclMax, comm, nullptr));
  for (size_t i = 0; i < kCount; ++i) {
    RANK_EQ(window.data()[i], static_cast<int32_t>(i) + ctx.size - 1);
  }
  window.close();
  comm.destroy();
}

RANK_BODY(WindowBadArguments) {
  Comm comm = makeWorld(ctx);
  Window window(comm, 8192, NCCL_WIN_DEFAULT);
  int32_t x = 5;
  const ncclWindow_t w = window.win();
  RANK_IS(ncclPutSignal(&x, 1, ncclInt32, ctx.size, w, 0, 0, 0, 0, comm, nullptr),
          ncclInvalidArgument);
  RANK_IS(ncclPutSignal(nullptr, 1, ncclInt32, 0, w, 0, 0, 0, 0, comm, nullptr),
          ncclInvalidArgument);
  RANK_IS(ncclPutSignal(&x, 1, ncclInt32, 0, nullptr, 0, 0, 0, 0, comm, nullptr),
          ncclInvalidArgument);
  RANK_IS(ncclPutSignal(&x, 1, ncclInt32, 0, w, 8192, 0, 0, 0, comm, nullptr), ncclInvalidArgument);
  RANK_MENTIONS(lastError(comm), "8192");
  RANK_IS(ncclPutSignal(&x, 1, ncclInt32, 0, w, SIZE_MAX - 2, 0, 0, 0, comm, nullptr),
          ncclInvalidArgument);
  RANK_IS(ncclSignal(-1, 0, 0, 0, comm, nullptr), ncclInvalidArgument);
  RANK_IS(ncclSignal(0, 999, 0, 0, comm, nullptr), ncclInvalidArgument);
  RANK_IS(ncclSignal(0, 0, 999, 0, comm, nullptr), ncclInvalidArgument);
  RANK_IS(ncclWaitSignal(1, nullptr, comm, nullptr), ncclInvalidArgument);
  ncclWaitSignalDesc_t bad{1, ctx.size, 0, 0};
  RANK_IS(ncclWaitSignal(1, &bad, comm, nullptr), ncclInvalidArgument);
  void* user = nullptr;
  RANK_IS(ncclWinGetUserPtr(comm, nullptr, &user), ncclInvalidArgument);
  RANK_IS(ncclCommWindowDeregister(comm, reinterpret_cast<ncclWindow_t>(&x)), ncclInvalidArgument);
  ctx.barrier();
  window.close();
  comm.destroy();
}

class Windows : public RankSuite {};

TEST_P(Windows, PutsLandWhereTheyAreToldAndSignal) {
  for (int size : {1, 2, 4}) pass("PutToAll", size);
  pass("PutToAll", 3, "stream");
}
TEST_P(Windows, WaitsCountSignals) { pass("SignalsAreCounted", 3); }
TEST_P(Windows, SignalComesAfterThePutsBeforeIt) { pass("SignalFollowsPuts", 2); }
TEST_P(Windows, WindowServesAsACollectivesBuffer) { pass("WindowInCollectives", 3); }
TEST_P(Windows, BadArgumentsAreRefused) { pass("WindowBadArguments", 2); }

INSTANTIATE_TEST_SUITE_P(Ranks, Windows,
                         ::testing::Values(How::kThreads, How::kProcesses, How::kMixed),
                         [](const auto& info) { return howName(info.param); });

}  // namespace
}  // namespace ranktest
