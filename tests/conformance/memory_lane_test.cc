// SPDX-License-Identifier: Apache-2.0
// The memory lane in the suite of all lanes, in each of its ways.
#include "lane/memory/memory_lane.h"

#include <gtest/gtest.h>

#include "conformance/lane_suite.h"
#include "unit/probe_support.h"

namespace flexlink {
namespace {

struct Held {
  std::vector<std::shared_ptr<OwnSegment>> segments;
  std::vector<ProbeComm*> probes;
  std::vector<std::unique_ptr<MemoryLane>> lanes;
  ~Held() {
    lanes.clear();
    for (ProbeComm* probe : probes) ProbeWriter::process()->closeComm(probe);
  }
};

LaneSet makeMemoryLanes(int ranks, MemoryTuning tuning, size_t poolBytes) {
  EXPECT_TRUE(myProcessCard().ok());
  auto held = std::make_shared<Held>();
  SegmentLayout layout{ranks, poolBytes};
  std::vector<MemoryPeer> peers(static_cast<size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    held->segments.push_back(OwnSegment::create(layout).value());
    MemoryPeer& peer = peers[static_cast<size_t>(rank)];
    peer.segment = Segment(held->segments.back()->base(), layout);
    peer.own = held->segments.back();
    peer.bell = &myDoorbell();
    peer.rank = rank;
    peer.name = "rank " + std::to_string(rank);
  }
  LaneSet set;
  for (int rank = 0; rank < ranks; ++rank) {
    held->probes.push_back(ProbeWriter::process()->openComm({}));
    held->lanes.push_back(
        std::make_unique<MemoryLane>(rank, peers, layout, tuning, held->probes.back()));
    set.lanes.push_back(held->lanes.back().get());
  }
  set.keep = held;
  return set;
}

struct Way {
  const char* name;
  MemoryTuning tuning;
  size_t poolBytes;
};

MemoryTuning tuned(bool direct, size_t eager, size_t chunk, int depth) {
  MemoryTuning tuning;
  tuning.direct = direct;
  tuning.eagerBytes = tuning.eagerFoldBytes = eager;
  tuning.chunkBytes = tuning.rootChunkBytes = chunk;
  tuning.directChunkBytes = 4096;
  tuning.depth = depth;
  tuning.streamBytes = 100000;
  return tuning;
}

class MemoryLaneWays : public testing::TestWithParam<Way> {
 protected:
  MakeLanes make() const {
    Way way = GetParam();
    return [way](int ranks) { return makeMemoryLanes(ranks, way.tuning, way.poolBytes); };
  }
};

TEST_P(MemoryLaneWays, CollectivesGiveExactResults) { collectivesGiveExactResults(make()); }
TEST_P(MemoryLaneWays, MessagesArriveInOrder) { messagesArriveInOrder(make()); }
TEST_P(MemoryLaneWays, BatchesMixMessagesAndCollectives) {
  batchesMixMessagesAndCollectives(make());
}
TEST_P(MemoryLaneWays, UnlikeCallsFailOnAllRanks) { unlikeCallsFailOnAllRanks(make()); }
TEST_P(MemoryLaneWays, AbortEndsWaiting) { abortEndsWaiting(make()); }

INSTANTIATE_TEST_SUITE_P(
    Ways, MemoryLaneWays,
    testing::Values(Way{"eager", tuned(false, kEagerCapacity, 65536, 2), 1 << 20},
                    Way{"direct", tuned(true, 0, 65536, 2), 1 << 20},
                    Way{"staged", tuned(false, 0, 65536, 2), 1 << 20},
                    Way{"stagedDeep", tuned(false, 64, 4096, 3), 1 << 20},
                    Way{"stagedTightPool", tuned(false, 64, 1 << 20, 2), 64 << 10}),
    [](const auto& info) { return info.param.name; });

uint64_t finishedOperations(const probetest::Reader& reader) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < reader.header().slotCount; ++i) {
    sum += probetest::Reader::load(reader.slot(static_cast<int>(i)).comm.operations);
  }
  return sum;
}

// A rank that gives up hands its buffers back to its user: whoever was still reading them must not
// take what he has read for a result.
TEST(MemoryLane, WhoeverReadsTheMemoryOfARankThatGaveUpFails) {
  LaneSet set = makeMemoryLanes(2, tuned(true, 0, 65536, 2), 1 << 20);  // threads: read in place
  std::vector<int32_t> data(50'000, 7), got(data.size());
  std::vector<Batch> batches(2);
  for (size_t rank = 0; rank < 2; ++rank) {
    Call call;
    call.kind = Collective::kBroadcast;
    call.type = DataType::kInt32;
    call.send = call.recv = rank == 0 ? data.data() : got.data();
    call.count = data.size();
    batches[rank].collective.push_back(call);
    set.lanes[rank]->start(batches[rank]);
  }
  while (got[0] != 7) {  // it has read a part
    (void)set.lanes[0]->poll();
    ASSERT_EQ(set.lanes[1]->poll() == Progress::kFailed, false);
  }
  ASSERT_EQ(got.back(), 0);
  set.lanes[0]->abort(makeStatus(Code::kRemote, "rank 0 has had enough"));
  std::fill(data.begin(), data.end(), -1);
  Progress progress = Progress::kMoved;
  while (progress == Progress::kMoved) progress = set.lanes[1]->poll();
  EXPECT_EQ(progress, Progress::kFailed);
  EXPECT_STREQ(set.lanes[1]->failure().text(), "rank 0 has had enough");
}

TEST(MemoryLaneProbe, EveryCollectiveOfEveryRankIsRecordedWithItsEnd) {
  LaneSet set = makeMemoryLanes(2, tuned(false, 1024, 65536, 2), 1 << 20);
  ASSERT_FALSE(ProbeWriter::process()->path().empty());
  probetest::Reader reader(ProbeWriter::process()->path());
  const uint64_t before = finishedOperations(reader);
  std::vector<int32_t> data(2000, 1);
  std::vector<Batch> batches(2);
  for (Batch& batch : batches) {
    for (size_t count : {size_t{0}, size_t{10}, data.size()}) {
      Call call;
      call.type = DataType::kInt32;
      call.send = data.data();
      call.recv = data.data();
      call.count = count;
      batch.collective.push_back(call);
    }
  }
  std::vector<int32_t> other(data);
  for (Call& call : batches[1].collective) call.send = call.recv = other.data();
  runBatches(set, batches, 1);
  EXPECT_EQ(finishedOperations(reader) - before, 6u);
}

}  // namespace
}  // namespace flexlink
