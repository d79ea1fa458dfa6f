// SPDX-License-Identifier: Apache-2.0
// What flexlink.h adds beside streams: notes of finished work, limits of a communicator, bitwise
// reductions; and that work which nobody waits for is done all the same.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/rank_run.h"
#include "support/rank_suite.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

void count(void* counter) { static_cast<std::atomic<int>*>(counter)->fetch_add(1); }

bool reaches(const std::atomic<int>& counter, int value, double seconds) {
  for (int i = 0; i < seconds * 1000 && counter.load() < value; ++i) usleep(1000);
  return counter.load() == value;
}

// The engine's thread sleeps while somebody waits and drives; it must be back for what comes next.
RANK_BODY(UnattendedAfterWaits) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  std::vector<int32_t> data(64, 1);
  std::atomic<int> done{0};
  for (int i = 0; i < 300; ++i) {
    for (int k = 0; k < i % 4; ++k) {
      RANK_OK(ncclAllReduce(data.data(), data.data(), 64, ncclInt32, ncclMax, comm, stream));
      stream.sync();
    }
    RANK_OK(ncclAllReduce(data.data(), data.data(), 64, ncclInt32, ncclMax, comm, stream));
    uint64_t ticket = 0;
    RANK_OK(flexlinkStreamRecord(stream, &ticket));
    RANK_OK(flexlinkStreamNotify(stream, ticket, count, &done));
    RANK_TRUE_MSG(reaches(done, i + 1, 10 * kSlowdown), done.load());
    RANK_OK(flexlinkStreamQuery(stream));
  }
  comm.destroy();
}

RANK_BODY(NotesOfTickets) {
  Comm comm = makeWorld(ctx);
  Stream stream, second;
  std::vector<int32_t> data(1000, 1);
  std::atomic<int> early{0}, late{0}, over{0};
  if (ctx.rank != 0) ctx.wait(1);
  for (int i = 0; i < 2; ++i) {
    RANK_OK(ncclAllReduce(data.data(), data.data(), 1000, ncclInt32, ncclMax, comm, stream));
  }
  uint64_t last = 0;
  RANK_OK(flexlinkStreamRecord(stream, &last));
  RANK_OK(flexlinkStreamWaitStream(second, stream, last));
  uint64_t waits = 0;
  RANK_OK(flexlinkStreamRecord(second, &waits));
  if (ctx.rank == 0) {
    RANK_OK(flexlinkStreamNotify(stream, last - 1, count, &early));
    RANK_OK(flexlinkStreamNotify(second, waits, count, &late));  // nobody drives a wait
    usleep(50'000);
    RANK_EQ(early.load() + late.load(), 0);  // the peer is not there yet
    ctx.set(1);
    RANK_TRUE(reaches(early, 1, 10 * kSlowdown));
    RANK_TRUE(reaches(late, 1, 10 * kSlowdown));
  }
  stream.sync();
  RANK_OK(flexlinkStreamNotify(stream, last, count, &over));
  RANK_EQ(over.load(), 1);  // at once
  RANK_IS(flexlinkStreamNotify(stream, last + 1, count, &over), ncclInvalidArgument);
  RANK_IS(flexlinkStreamNotify(stream, last, nullptr, &over), ncclInvalidArgument);
  comm.destroy();
}

// So long that no rank is through without the other.
constexpr size_t kLong = 500'000;

RANK_BODY(LimitOfOneCommunicator) {
  Comm limited = makeWorld(ctx, 0);
  Comm other = makeWorld(ctx, 1);
  Stream stream;
  std::vector<int32_t> data(kLong, 1);
  int rank = 7;
  RANK_OK(flexlinkCommWaitsFor(limited, &rank));
  RANK_EQ(rank, -1);
  if (ctx.rank == 0) {
    RANK_OK(flexlinkCommSetTimeout(limited, 300'000));
    std::atomic<int> done{0};
    RANK_OK(ncclAllReduce(data.data(), data.data(), kLong, ncclInt32, ncclSum, limited, stream));
    RANK_OK(flexlinkStreamNotify(stream, 1, count, &done));
    usleep(100'000);
    RANK_OK(flexlinkCommWaitsFor(limited, &rank));
    RANK_EQ(rank, 1);
    const double seconds = timed([&] {
      RANK_IS(flexlinkStreamWait(stream, 1, -1), ncclTimeout);
      RANK_MENTIONS(lastError(limited), "rank 1", "0.3 s");
    });
    RANK_TRUE_MSG(seconds < 2 * kSlowdown, seconds);
    RANK_TRUE(reaches(done, 1, 10));  // a failure is an end, too
    ctx.set(1);
  } else {
    ctx.wait(1);
    RANK_IS(ncclAllReduce(data.data(), data.data(), kLong, ncclInt32, ncclSum, limited, nullptr),
            ncclTimeout);  // the first cause
    RANK_MENTIONS(lastError(limited), "rank 0 waited", "for rank 1");
    usleep(500'000);  // the other communicator has no limit
  }
  RANK_OK(ncclAllReduce(data.data(), data.data(), 1000, ncclInt32, ncclMax, other, nullptr));
  limited.abort();
  other.destroy();
}

// Rank 0 leaves with a receive that nobody answers; what it sent is read after that, and the others
// go on.
RANK_BODY(LeavesWithAnOpenReceive) {
  Comm comm = makeWorld(ctx);
  Stream stream, back;
  const int last = ctx.size - 1;
  int32_t sent = 42, got = 0, unanswered = 7;
  if (ctx.rank == 0) {
    std::atomic<int> done{0};
    RANK_OK(ncclRecv(&unanswered, 1, ncclInt32, last, comm, stream));
    uint64_t ticket = 0;
    RANK_OK(flexlinkStreamRecord(stream, &ticket));
    RANK_OK(flexlinkStreamNotify(stream, ticket, count, &done));
    RANK_OK(ncclSend(&sent, 1, ncclInt32, 1, comm, back));
    const double seconds = timed([&] { RANK_OK(flexlinkCommLeave(comm.release())); });
    RANK_TRUE_MSG(seconds < 2 * kSlowdown, seconds);
    RANK_IS(flexlinkStreamWait(stream, ticket, 0), ncclInvalidUsage);
    RANK_TRUE(reaches(done, 1, 10));
    RANK_EQ(unanswered, 7);
    ctx.set(1);
    return;
  }
  ctx.wait(1);
  usleep(100'000);
  ncclResult_t heard = ncclSystemError;
  RANK_OK(ncclCommGetAsyncError(comm, &heard));
  RANK_EQ(heard, ncclSuccess);
  if (ctx.rank == 1) {
    RANK_OK(ncclRecv(&got, 1, ncclInt32, 0, comm, nullptr));
    RANK_EQ(got, 42);
    if (last != 1) RANK_OK(ncclSend(&got, 1, ncclInt32, last, comm, nullptr));
  } else if (ctx.rank == last) {
    RANK_OK(ncclRecv(&got, 1, ncclInt32, 1, comm, nullptr));
    RANK_EQ(got, 42);
  }
  comm.destroy();
}

template <typename T>
T bitsOf(int rank, size_t i) {
  uint64_t x = (static_cast<uint64_t>(rank) + 3) * 0x9e3779b97f4a7c15u * (i + 1);
  return static_cast<T>(x ^ x >> 29);
}

template <typename T>
T folded(int op, int ranks, size_t i) {
  T all = bitsOf<T>(0, i);
  for (int rank = 1; rank < ranks; ++rank) {
    const T next = bitsOf<T>(rank, i);
    all = op == 0   ? static_cast<T>(all & next)
          : op == 1 ? static_cast<T>(all | next)
                    : static_cast<T>(all ^ next);
  }
  return all;
}

template <typename T>
void foldsBits(RankContext& ctx, ncclComm_t comm, ncclDataType_t type) {
  const ncclRedOp_t ops[] = {flexlinkBitAnd, flexlinkBitOr, flexlinkBitXor};
  for (size_t block : {size_t{1}, size_t{333}, size_t{100'000}}) {
    const size_t n = block * static_cast<size_t>(ctx.size);
    std::vector<T> in(n), out(n), part(block);
    for (size_t i = 0; i < n; ++i) in[i] = bitsOf<T>(ctx.rank, i);
    for (int op = 0; op < 3; ++op) {
      RANK_OK(ncclAllReduce(in.data(), out.data(), n, type, ops[op], comm, nullptr));
      RANK_OK(ncclReduceScatter(in.data(), part.data(), block, type, ops[op], comm, nullptr));
      for (size_t i = 0; i < n; ++i) RANK_EQ(out[i], folded<T>(op, ctx.size, i));
      const size_t mine = block * static_cast<size_t>(ctx.rank);
      for (size_t i = 0; i < block; ++i) RANK_EQ(part[i], folded<T>(op, ctx.size, mine + i));
    }
  }
}

RANK_BODY(BitwiseReductions) {
  Comm comm = makeWorld(ctx);
  foldsBits<int8_t>(ctx, comm, ncclInt8);
  foldsBits<uint8_t>(ctx, comm, ncclUint8);
  foldsBits<int32_t>(ctx, comm, ncclInt32);
  foldsBits<uint32_t>(ctx, comm, ncclUint32);
  foldsBits<int64_t>(ctx, comm, ncclInt64);
  foldsBits<uint64_t>(ctx, comm, ncclUint64);
  float x = 1;
  RANK_IS(ncclAllReduce(&x, &x, 1, ncclFloat32, flexlinkBitXor, comm, nullptr),
          ncclInvalidArgument);
  RANK_MENTIONS(lastError(comm), "bitxor", "float32");
  comm.destroy();
}

class OwnApi : public RankSuite {};

TEST_P(OwnApi, WorkThatNobodyWaitsForIsDone) { pass("UnattendedAfterWaits", 2); }
TEST_P(OwnApi, NotesComeOnceWhenTheirWorkIsFinished) { pass("NotesOfTickets", 2); }
TEST_P(OwnApi, LimitIsOfOneCommunicatorAndNamesTheAwaitedRank) {
  pass("LimitOfOneCommunicator", 2);
}
TEST_P(OwnApi, BitwiseReductionsOfIntegers) {
  for (int size : {1, 2, 3}) pass("BitwiseReductions", size);
}

TEST_P(OwnApi, WhoLeavesWithAnOpenReceiveHarmsNobody) {
  for (int size : {2, 3}) pass("LeavesWithAnOpenReceive", size);
  for (const char* hosts : {"011", "012"}) pass("LeavesWithAnOpenReceive", 3, "", hosts);
}

INSTANTIATE_TEST_SUITE_P(Ranks, OwnApi, ::testing::Values(How::kThreads, How::kProcesses),
                         [](const auto& info) { return howName(info.param); });

}  // namespace
}  // namespace ranktest
