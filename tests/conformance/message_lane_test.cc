// SPDX-License-Identifier: Apache-2.0
// The message lane in the suite of all lanes, over one link and over several, of both kinds.
#include <gtest/gtest.h>

#include "conformance/message_lanes.h"

namespace flexlink {
namespace {

struct Way {
  const char* name;
  Links links;
  MessageTuning tuning;
};

class MessageLaneWays : public testing::TestWithParam<Way> {
 protected:
  MakeLanes make() const {
    Way way = GetParam();
    return [way](int ranks) { return laneSet(makeMessageLanes(ranks, way.links, way.tuning)); };
  }
};

TEST_P(MessageLaneWays, CollectivesGiveExactResults) { collectivesGiveExactResults(make()); }
TEST_P(MessageLaneWays, SlicesGiveExactResults) { slicesGiveExactResults(make()); }
TEST_P(MessageLaneWays, MessagesArriveInOrder) { messagesArriveInOrder(make()); }
TEST_P(MessageLaneWays, BatchesMixMessagesAndCollectives) {
  batchesMixMessagesAndCollectives(make());
}
TEST_P(MessageLaneWays, BatchesOfMessagesDoNotWaitForEachOther) {
  batchesOfMessagesDoNotWaitForEachOther(make());
}
TEST_P(MessageLaneWays, BatchesOfMessagesKeepTheOrderOfAPair) {
  batchesOfMessagesKeepTheOrderOfAPair(make());
}
TEST_P(MessageLaneWays, MessagesToOneselfMeetAcrossBatches) {
  messagesToOneselfMeetAcrossBatches(make());
}
TEST_P(MessageLaneWays, AReceiveEndsAloneWhenItsSenderHasLeft) {
  aReceiveEndsAloneWhenItsSenderHasLeft(make());
}
TEST_P(MessageLaneWays, UnlikeCallsFailOnAllRanks) { unlikeCallsFailOnAllRanks(make()); }
TEST_P(MessageLaneWays, AbortEndsWaiting) { abortEndsWaiting(make()); }

INSTANTIATE_TEST_SUITE_P(
    Ways, MessageLaneWays,
    testing::Values(Way{"oneLink", {1, 0}, {}},
                    Way{"smallSegments", {1, 0}, {8192, 2, 1 << 20, {}}}, Way{"pcie", {0, 1}, {}},
                    Way{"pcieAndTcp", {1, 1}, {65536, 4, 8 << 20, {}}},
                    Way{"threeLinks", {3, 0}, {65536, 4, 8 << 20, {}}},
                    Way{"oneShot", {2, 0}, {65536, 2, 1 << 20, Pattern::kOneShot}},
                    Way{"tree", {1, 0}, {65536, 3, 1 << 20, Pattern::kTree}},
                    Way{"ring", {2, 0}, {32768, 3, 1 << 20, Pattern::kRing}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace flexlink
