// SPDX-License-Identifier: Apache-2.0
// What a reader of the probe sees while several batches of messages are at hand.
#include "lane/calls_shown.h"

#include <gtest/gtest.h>

#include "unit/probe_support.h"

namespace flexlink {
namespace {

using probetest::Reader;

std::vector<Call> messages(uint64_t seq, size_t howMany) {
  std::vector<Call> calls(howMany);
  for (Call& call : calls) {
    call.kind = Collective::kRecv;
    call.seq = seq++;
    call.count = 10;
  }
  return calls;
}

class Shown : public testing::Test {
 protected:
  ~Shown() override { writer_->closeComm(comm_); }
  FlexlinkProbeLane live() { return Reader::read(reader_.slot(0).lanes[0]); }
  FlexlinkProbeRecord record(int number) { return Reader::read(reader_.record(0, number)); }

  probetest::Folder folder_;
  std::unique_ptr<ProbeWriter> writer_ = std::move(ProbeWriter::create(folder_.path()).value());
  Reader reader_{writer_->path()};
  ProbeComm* comm_ = writer_->openComm({});
  CallsShown shown_{comm_, 0};
};

TEST_F(Shown, TheOldestBatchIsShownUntilItIsDone) {
  const std::vector<Call> first = messages(0, 2), second = messages(2, 1), third = messages(3, 1);
  const uint64_t since = shown_.begin(first);
  const uint64_t later = shown_.begin(second);
  const uint64_t last = shown_.begin(third);
  EXPECT_EQ(live().seq, 0u);
  comm_->waitsFor(7);
  shown_.endEach(second, later);
  shown_.rest(second);
  EXPECT_EQ(live().seq, 0u);
  EXPECT_EQ(live().startTicks, since);
  EXPECT_EQ(live().waitRanks, 7u | uint64_t{FLEXLINK_PROBE_NO_RANK} << 32);
  EXPECT_EQ(live().phase, FLEXLINK_PROBE_PHASE_MOVING);
  EXPECT_EQ(shown_.endEach(first, since), 20u);
  shown_.rest(first);
  EXPECT_EQ(live().seq, 3u);
  EXPECT_EQ(live().startTicks, last);
  EXPECT_EQ(live().waitRanks, ~uint64_t{0});
  EXPECT_EQ(live().phase, FLEXLINK_PROBE_PHASE_MOVING);
  shown_.endEach(third, last);
  shown_.rest(third);
  EXPECT_EQ(live().phase, FLEXLINK_PROBE_PHASE_IDLE);
  EXPECT_EQ(live().operations, 4u);
}

TEST_F(Shown, EveryRecordHasItsOwnBeginningAndNoOthersWait) {
  const std::vector<Call> first = messages(0, 1), second = messages(1, 1);
  const uint64_t since = shown_.begin(first);
  const uint64_t later = shown_.begin(second);
  comm_->waitsFor(3);
  comm_->waitsNoMore();  // of the first batch, some ticks long
  shown_.endEach(second, later);
  shown_.rest(second);
  shown_.endEach(first, since);
  shown_.rest(first);
  EXPECT_EQ(record(0).seq, 1u);
  EXPECT_EQ(record(0).startTicks, later);
  EXPECT_EQ(record(0).outcome >> 8 & FLEXLINK_PROBE_RECORD_NO_RANK, FLEXLINK_PROBE_RECORD_NO_RANK);
  EXPECT_EQ(record(1).seq, 0u);
  EXPECT_EQ(record(1).startTicks, since);
  EXPECT_EQ(record(1).outcome >> 8 & FLEXLINK_PROBE_RECORD_NO_RANK, 3u);
  EXPECT_EQ(live().busyTicks, record(0).endTicks - later + record(1).endTicks - since);
}

}  // namespace
}  // namespace flexlink
