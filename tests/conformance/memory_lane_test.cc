// SPDX-License-Identifier: Apache-2.0
// The memory lane in the suite of all lanes, in each of its ways.
#include "lane/memory/memory_lane.h"

#include <gtest/gtest.h>

#include "conformance/lane_suite.h"
#include "conformance/memory_lanes.h"
#include "device/host/host_device.h"
#include "support/slow_device.h"
#include "unit/probe_support.h"

namespace flexlink {
namespace {

struct Way {
  const char* name;
  MemoryTuning tuning;
  size_t poolBytes;
  MakeDevice device = nullptr;
};

MakeDevice hostDevices() {
  return [] { return std::make_shared<HostDevice>(); };
}
MakeDevice slowDevices() {
  return [] { return std::make_shared<SlowDevice>(); };
}

class MemoryLaneWays : public testing::TestWithParam<Way> {
 protected:
  MakeLanes make() const {
    Way way = GetParam();
    return [way](int ranks) {
      return laneSet(makeMemoryLanes(ranks, way.tuning, way.poolBytes, way.device));
    };
  }
};

TEST_P(MemoryLaneWays, CollectivesGiveExactResults) { collectivesGiveExactResults(make()); }
TEST_P(MemoryLaneWays, SlicesGiveExactResults) { slicesGiveExactResults(make()); }
TEST_P(MemoryLaneWays, MessagesArriveInOrder) { messagesArriveInOrder(make()); }
TEST_P(MemoryLaneWays, BatchesMixMessagesAndCollectives) {
  batchesMixMessagesAndCollectives(make());
}
TEST_P(MemoryLaneWays, BatchesOfMessagesDoNotWaitForEachOther) {
  batchesOfMessagesDoNotWaitForEachOther(make());
}
TEST_P(MemoryLaneWays, BatchesOfMessagesKeepTheOrderOfAPair) {
  batchesOfMessagesKeepTheOrderOfAPair(make());
}
TEST_P(MemoryLaneWays, MessagesToOneselfMeetAcrossBatches) {
  messagesToOneselfMeetAcrossBatches(make());
}
TEST_P(MemoryLaneWays, AReceiveEndsAloneWhenItsSenderHasLeft) {
  aReceiveEndsAloneWhenItsSenderHasLeft(make());
}
TEST_P(MemoryLaneWays, UnlikeCallsFailOnAllRanks) { unlikeCallsFailOnAllRanks(make()); }
TEST_P(MemoryLaneWays, AbortEndsWaiting) { abortEndsWaiting(make()); }

INSTANTIATE_TEST_SUITE_P(
    Ways, MemoryLaneWays,
    testing::Values(Way{"eager", tuned(false, kEagerCapacity, 65536, 2), 1 << 20},
                    Way{"direct", tuned(true, 0, 65536, 2), 1 << 20},
                    Way{"staged", tuned(false, 0, 65536, 2), 1 << 20},
                    Way{"stagedDeep", tuned(false, 64, 4096, 3), 1 << 20},
                    Way{"stagedTightPool", tuned(false, 64, 1 << 20, 2), 64 << 10},
                    Way{"byDevice", tuned(false, 0, 65536, 2), 1 << 20, hostDevices()},
                    Way{"byDeviceSmallSteps", tuned(false, 64, 4096, 3), 64 << 10, hostDevices()},
                    Way{"bySlowDevice", tuned(false, 0, 65536, 2), 1 << 20, slowDevices()}),
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
  LaneSet set =
      laneSet(makeMemoryLanes(2, tuned(true, 0, 65536, 2), 1 << 20));  // threads: read in place
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

// The last poll was before the message came; the look around is after its sender has left.
TEST(MemoryLane, AMessageThatCameBeforeItsSenderLeftIsTaken) {
  LaneSet set = laneSet(makeMemoryLanes(2, tuned(false, 64, 4096, 3), 1 << 20));
  std::vector<int32_t> sent(100, 7), got(sent.size());
  Call call;
  call.type = DataType::kInt32;
  call.count = sent.size();
  std::vector<Batch> batches(2);
  call.kind = Collective::kRecv;
  call.root = 1;
  call.recv = got.data();
  batches[0].single.push_back(call);
  call.kind = Collective::kSend;
  call.root = 0;
  call.send = sent.data();
  batches[1].single.push_back(call);
  set.lanes[0]->start(batches[0]);
  while (set.lanes[0]->poll() == Progress::kMoved) {
  }
  set.lanes[1]->start(batches[1]);
  while (set.lanes[1]->poll() != Progress::kDone) {
  }
  set.lanes[1]->close();
  EXPECT_TRUE(set.lanes[0]->check().ok());
  EXPECT_TRUE(set.lanes[0]->check().ok());
  while (set.lanes[0]->poll() == Progress::kMoved) {
  }
  EXPECT_EQ(set.lanes[0]->poll(), Progress::kDone);
  EXPECT_EQ(got, sent);
}

// The last poll was before a peer came; the look around is after it is through with the call and
// has given up. All that is needed of it is there; the next call ends with its reason.
void expectACallEndsWellAfterAPeerWasThroughWithIt(MemoryTuning tuning, size_t count) {
  LaneSet set = laneSet(makeMemoryLanes(2, tuning, 1 << 20));
  std::vector<std::vector<int32_t>> data(2, std::vector<int32_t>(count, 21));
  std::vector<Batch> batches(2);
  for (size_t rank = 0; rank < 2; ++rank) {
    Call call;
    call.kind = Collective::kAllReduce;
    call.type = DataType::kInt32;
    call.send = call.recv = data[rank].data();
    call.count = count;
    batches[rank].collective.push_back(call);
    set.lanes[rank]->start(batches[rank]);
  }
  while (set.lanes[1]->poll() == Progress::kMoved) {
  }
  // Rank 1 polls only where rank 0 can do nothing without it.
  for (Progress progress = Progress::kMoved; progress != Progress::kDone;) {
    progress = set.lanes[0]->poll();
    if (progress == Progress::kWaiting) (void)set.lanes[1]->poll();
  }
  set.lanes[0]->abort(makeStatus(Code::kRemote, "rank 0 has had enough"));
  EXPECT_TRUE(set.lanes[1]->check().ok());
  EXPECT_TRUE(set.lanes[1]->check().ok());
  while (set.lanes[1]->poll() == Progress::kMoved) {
  }
  EXPECT_EQ(set.lanes[1]->poll(), Progress::kDone);
  EXPECT_EQ(data[1], std::vector<int32_t>(count, 42));
  EXPECT_STREQ(set.lanes[1]->check().text(), "rank 0 has had enough");
}

TEST(MemoryLane, ACallEndsWellAfterAPeerWasThroughWithIt) {
  expectACallEndsWellAfterAPeerWasThroughWithIt(tuned(false, 64, 4096, 3), 10);
  expectACallEndsWellAfterAPeerWasThroughWithIt(tuned(false, 64, 4096, 3), 20'000);
}

TEST(MemoryLane, NoDeviceWritesToMemoryAfterACallHasFailed) {
  std::vector<std::shared_ptr<SlowDevice>> devices;
  const auto device = [&] { return devices.emplace_back(std::make_shared<SlowDevice>()); };
  LaneSet set = laneSet(makeMemoryLanes(2, tuned(false, 0, 4096, 3), 1 << 20, device));
  noDeviceWritesAfterAFailure(set, devices[0].get(), 20'000, HoldBack::kFromTheStart);
}

// One that has come, and gives up before it is through, ends the call of those that wait for
// others.
TEST(MemoryLane, APeerThatGivesUpEndsACallThatItWasNotThroughWith) {
  LaneSet set = laneSet(makeMemoryLanes(3, tuned(false, 64, 4096, 3), 1 << 20));
  std::vector<int32_t> data(3, 1);
  std::vector<Batch> batches(2);
  for (size_t rank = 0; rank < 2; ++rank) {
    Call call;
    call.kind = Collective::kAllReduce;
    call.type = DataType::kInt32;
    call.send = call.recv = &data[rank];
    call.count = 1;
    batches[rank].collective.push_back(call);
    set.lanes[rank]->start(batches[rank]);
    (void)set.lanes[rank]->poll();
  }
  set.lanes[0]->abort(makeStatus(Code::kRemote, "rank 0 has had enough"));
  (void)set.lanes[1]->check();
  EXPECT_EQ(set.lanes[1]->poll(), Progress::kWaiting);
  EXPECT_STREQ(set.lanes[1]->check().text(), "rank 0 has had enough");
}

TEST(MemoryLaneProbe, EveryCollectiveOfEveryRankIsRecordedWithItsEnd) {
  LaneSet set = laneSet(makeMemoryLanes(2, tuned(false, 1024, 65536, 2), 1 << 20));
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
      call.seq = batch.collective.size();
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
