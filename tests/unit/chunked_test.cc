// SPDX-License-Identifier: Apache-2.0
// The order of staged work, checked against a model: ranks that run in any order, slots that hold
// one chunk each.
#include "schedule/chunked.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace flexlink {
namespace {

// What each slot of each rank holds: the chunk of stage 0 and of stage 1.
struct Model {
  Model(ChunkedSchedule schedule, int ranks)
      : schedule(schedule),
        done(static_cast<size_t>(ranks)),
        slots(static_cast<size_t>(ranks),
              std::vector<std::vector<int64_t>>(
                  2, std::vector<int64_t>(static_cast<size_t>(schedule.depth), -1))) {}

  bool mayRun(size_t rank) const {
    if (done[rank] == schedule.steps()) return false;
    uint64_t needs = schedule.needs(schedule.step(done[rank]));
    for (size_t peer = 0; peer < done.size(); ++peer) {
      if (peer != rank && done[peer] < needs) return false;
    }
    return true;
  }

  // Reads of stage s come from the slots that stage s-1 of every rank has filled.
  void run(size_t rank) {
    ChunkedSchedule::Step step = schedule.step(done[rank]++);
    if (schedule.idle(step)) return;
    auto slot = static_cast<size_t>(step.chunk % schedule.depth);
    if (step.stage > 0) {
      auto from = static_cast<size_t>(step.stage - 1);
      for (auto& owner : slots) ASSERT_EQ(owner[from][slot], step.chunk) << "stage " << step.stage;
      ++reads;
    }
    if (step.stage + 1 < schedule.stages) {
      slots[rank][static_cast<size_t>(step.stage)][slot] = step.chunk;
    }
  }

  ChunkedSchedule schedule;
  std::vector<uint64_t> done;
  std::vector<std::vector<std::vector<int64_t>>> slots;  // [rank][stage][slot]
  uint64_t reads = 0;
};

void runInRandomOrder(ChunkedSchedule schedule, int ranks, uint32_t seed) {
  Model model(schedule, ranks);
  std::mt19937 random(seed);
  uint64_t total = schedule.steps() * static_cast<uint64_t>(ranks);
  for (uint64_t step = 0; step < total; ++step) {
    std::vector<size_t> able;
    for (size_t rank = 0; rank < model.done.size(); ++rank) {
      if (model.mayRun(rank)) able.push_back(rank);
    }
    ASSERT_FALSE(able.empty()) << "all ranks wait for each other";
    // One rank runs as far ahead as it may, which is when slots are overwritten too early.
    size_t next = random() % 2 ? able.front() : able[random() % able.size()];
    ASSERT_NO_FATAL_FAILURE(model.run(next));
  }
  EXPECT_EQ(model.reads, schedule.chunks * static_cast<uint64_t>(schedule.stages - 1) *
                             static_cast<uint64_t>(ranks));
}

TEST(ChunkedSchedule, AnyOrderOfRanksReadsWhatWasPutThere) {
  for (int stages : {2, 3}) {
    for (int depth : {2, 3, 4}) {
      for (uint64_t chunks : {1u, 2u, 3u, 7u}) {
        for (int ranks : {2, 3, 5}) {
          for (uint32_t seed = 0; seed < 20; ++seed) {
            SCOPED_TRACE(testing::Message()
                         << stages << " stages, depth " << depth << ", " << chunks << " chunks, "
                         << ranks << " ranks, seed " << seed);
            ASSERT_NO_FATAL_FAILURE(runInRandomOrder({chunks, stages, depth}, ranks, seed));
          }
        }
      }
    }
  }
}

TEST(ChunkedSchedule, NoChunksAreNoSteps) {
  EXPECT_EQ((ChunkedSchedule{0, 2, 2}.steps()), 0u);
  EXPECT_EQ((ChunkedSchedule{0, 3, 2}.steps()), 0u);
}

TEST(Shards, TileTheBytesInWholeLines) {
  for (size_t bytes : {0u, 1u, 63u, 64u, 65u, 1000u, 4096u, 1000003u}) {
    for (int shards : {1, 2, 3, 7, 64}) {
      size_t at = 0;
      for (int i = 0; i < shards; ++i) {
        ByteRange range = shardOf(bytes, shards, i);
        EXPECT_EQ(range.begin, at);
        EXPECT_TRUE(range.begin % 64 == 0 || range.begin == bytes);
        EXPECT_LE(range.size(), shardOf(bytes, shards, 0).size());
        at = range.end;
      }
      EXPECT_EQ(at, bytes) << bytes << " bytes in " << shards;
    }
  }
}

TEST(Chunks, TileAPiece) {
  EXPECT_EQ(chunkOf(100, 64, 0).size(), 64u);
  EXPECT_EQ(chunkOf(100, 64, 1).size(), 36u);
  EXPECT_EQ(chunkOf(100, 64, 2).size(), 0u);
  EXPECT_EQ(chunkOf(0, 64, 0).size(), 0u);
}

}  // namespace
}  // namespace flexlink
