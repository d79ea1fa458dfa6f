// SPDX-License-Identifier: Apache-2.0
// What flexlink.h lets a stream do itself: counters and copies, in order with collectives, between
// processes, and when nobody waits.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <vector>

#include "device/host/host_device.h"
#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/rank_run.h"
#include "support/rank_suite.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

// A counter that all ranks see, whichever process they live in.
uint64_t* counterOf(RankContext& ctx, int rank) {
  return &ctx.board->slots[rank].values[kMaxValues - 1];
}

uint64_t load(uint64_t* at) {
  return std::atomic_ref<uint64_t>(*at).load(std::memory_order_acquire);
}

bool reaches(uint64_t* at, uint64_t value, double seconds) {
  for (int i = 0; i < seconds * 1000 && load(at) < value; ++i) usleep(1000);
  return load(at) == value;
}

// Nobody waits for the stream: the library sees to it by itself.
RANK_BODY(ValuesAroundACollective) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  std::vector<int32_t> data(100'000, 1), copy(data.size());
  uint64_t gate = 0, done = 0;
  RANK_OK(flexlinkStreamWaitValue64(stream, &gate, 3));
  RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm, stream));
  RANK_OK(flexlinkStreamCopy(stream, copy.data(), data.data(), data.size() * sizeof data[0]));
  RANK_OK(flexlinkStreamWriteValue64(stream, &done, 7));
  uint64_t last = 0;
  RANK_OK(flexlinkStreamRecord(stream, &last));
  RANK_EQ(last, 4u);
  RANK_IS(flexlinkStreamWait(stream, 1, 50'000), ncclInProgress);
  std::atomic_ref<uint64_t>(gate).store(2, std::memory_order_release);
  RANK_IS(flexlinkStreamWait(stream, 1, 50'000), ncclInProgress);
  RANK_EQ(load(&done), 0u);
  std::atomic_ref<uint64_t>(gate).store(3, std::memory_order_release);
  RANK_TRUE(reaches(&done, 7, 10 * kSlowdown));
  for (int32_t x : copy) RANK_EQ(x, ctx.size);
  RANK_OK(flexlinkStreamQuery(stream));
  comm.destroy();
}

// One stream of each rank in turn, by counters alone.
RANK_BODY(CountersBetweenProcesses) {
  constexpr uint64_t kRounds = 200;
  Stream stream;
  uint64_t* own = counterOf(ctx, ctx.rank);
  uint64_t* other = counterOf(ctx, 1 - ctx.rank);
  ctx.barrier();
  for (uint64_t i = 1; i <= kRounds; ++i) {
    if (ctx.rank == 0) RANK_OK(flexlinkStreamWriteValue64(stream, own, i));
    RANK_OK(flexlinkStreamWaitValue64(stream, other, i));
    if (ctx.rank == 1) RANK_OK(flexlinkStreamWriteValue64(stream, own, i));
  }
  const double seconds = timed([&] { stream.sync(); });
  RANK_TRUE_MSG(seconds < 10 * kSlowdown, seconds);
  RANK_EQ(load(own), kRounds);
}

RANK_BODY(CountersOfTwoStreams) {
  Stream first, second;
  uint64_t passed = 0;
  std::vector<uint8_t> data(3'000'000, 5), between(data.size()), out(data.size());
  RANK_OK(flexlinkStreamWaitValue64(second, &passed, 1));
  RANK_OK(flexlinkStreamCopy(second, out.data(), between.data(), data.size()));
  RANK_OK(flexlinkStreamCopy(first, between.data(), data.data(), data.size()));
  RANK_OK(flexlinkStreamWriteValue64(first, &passed, 1));
  second.sync();
  RANK_TRUE(out == data);
  first.sync();
}

RANK_BODY(WrongValueCalls) {
  Stream stream;
  uint64_t counters[2] = {0, 0};
  auto* crooked = reinterpret_cast<uint64_t*>(reinterpret_cast<char*>(counters) + 4);
  RANK_IS(flexlinkStreamWriteValue64(nullptr, counters, 1), ncclInvalidArgument);
  RANK_IS(flexlinkStreamWriteValue64(stream, nullptr, 1), ncclInvalidArgument);
  RANK_IS(flexlinkStreamWriteValue64(stream, crooked, 1), ncclInvalidArgument);
  RANK_IS(flexlinkStreamWaitValue64(stream, nullptr, 1), ncclInvalidArgument);
  RANK_IS(flexlinkStreamWaitValue64(stream, crooked, 1), ncclInvalidArgument);
  RANK_IS(flexlinkStreamCopy(stream, nullptr, counters, 8), ncclInvalidArgument);
  RANK_IS(flexlinkStreamCopy(stream, counters, nullptr, 8), ncclInvalidArgument);
  RANK_OK(flexlinkStreamCopy(stream, nullptr, nullptr, 0));
  stream.sync();
  RANK_EQ(counters[0] + counters[1], 0u);
}

// Memory of rank 0 by a handle of 64 bytes that travels over the board.
RANK_BODY(MemoryByHandle) {
  flexlink::HostDevice device;
  uint64_t* board = &ctx.board->slots[0].values[kMaxValues - 16];
  if (ctx.rank == 0) {
    void* memory = nullptr;
    RANK_OK(ncclMemAlloc(&memory, 4096));
    static_cast<uint32_t*>(memory)[3] = 41;
    auto handle = device.share(static_cast<uint32_t*>(memory) + 3);
    RANK_TRUE_MSG(handle.ok(), handle.status().text());
    memcpy(board, handle.value().data(), handle.value().size());
    ctx.set(1);
    ctx.wait(2);
    RANK_EQ(static_cast<uint32_t*>(memory)[3], 42u);
    RANK_OK(ncclMemFree(memory));
    return;
  }
  ctx.wait(1);
  flexlink::MemoryHandle handle;
  memcpy(handle.data(), board, handle.size());
  auto opened = device.open(handle);
  RANK_TRUE_MSG(opened.ok(), opened.status().text());
  RANK_EQ(*static_cast<uint32_t*>(opened.value()), 41u);
  *static_cast<uint32_t*>(opened.value()) = 42;
  RANK_TRUE(device.close(opened.value()).ok());
  ctx.set(2);
}

class StreamValues : public RankSuite {};

TEST_P(StreamValues, OrderCollectivesThatNobodyWaitsFor) { pass("ValuesAroundACollective", 2); }
TEST_P(StreamValues, OrderStreamsOfSeveralProcesses) { pass("CountersBetweenProcesses", 2); }
TEST_P(StreamValues, OrderTwoStreamsOfOneThread) { pass("CountersOfTwoStreams", 1); }
TEST_P(StreamValues, WrongCallsAreRefused) { pass("WrongValueCalls", 1); }
TEST_P(StreamValues, MemoryIsOpenedByItsHandle) { pass("MemoryByHandle", 2); }

INSTANTIATE_TEST_SUITE_P(Ranks, StreamValues, ::testing::Values(How::kThreads, How::kProcesses),
                         [](const auto& info) { return howName(info.param); });

}  // namespace
}  // namespace ranktest
