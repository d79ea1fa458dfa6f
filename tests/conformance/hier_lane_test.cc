// SPDX-License-Identifier: Apache-2.0
// The hier lane in the suite of all lanes, for several ways of spreading ranks over hosts.
#include <gtest/gtest.h>

#include "conformance/hier_lanes.h"

namespace flexlink {
namespace {

struct Spread {
  const char* name;
  HostOf hostOf;
};

class HierLaneSpreads : public testing::TestWithParam<Spread> {
 protected:
  MakeLanes make() const {
    HostOf hostOf = GetParam().hostOf;
    return [hostOf](int ranks) { return laneSet(makeHierLanes(ranks, hostOf)); };
  }
};

TEST_P(HierLaneSpreads, CollectivesGiveExactResults) { collectivesGiveExactResults(make()); }
TEST_P(HierLaneSpreads, SlicesGiveExactResults) { slicesGiveExactResults(make()); }
TEST_P(HierLaneSpreads, MessagesArriveInOrder) { messagesArriveInOrder(make()); }
TEST_P(HierLaneSpreads, BatchesMixMessagesAndCollectives) {
  batchesMixMessagesAndCollectives(make());
}
TEST_P(HierLaneSpreads, BatchesOfMessagesDoNotWaitForEachOther) {
  batchesOfMessagesDoNotWaitForEachOther(make());
}
TEST_P(HierLaneSpreads, BatchesOfMessagesKeepTheOrderOfAPair) {
  batchesOfMessagesKeepTheOrderOfAPair(make());
}
TEST_P(HierLaneSpreads, MessagesToOneselfMeetAcrossBatches) {
  messagesToOneselfMeetAcrossBatches(make());
}
TEST_P(HierLaneSpreads, AReceiveEndsAloneWhenItsSenderHasLeft) {
  aReceiveEndsAloneWhenItsSenderHasLeft(make());
}
TEST_P(HierLaneSpreads, UnlikeCallsFailOnAllRanks) { unlikeCallsFailOnAllRanks(make()); }
TEST_P(HierLaneSpreads, AbortEndsWaiting) { abortEndsWaiting(make()); }

uint64_t inHalves(int rank, int ranks) { return 2 * rank >= ranks ? 1 : 0; }
uint64_t inTurns(int rank, int) { return static_cast<uint64_t>(rank % 2); }
uint64_t lastAlone(int rank, int ranks) { return rank == ranks - 1 ? 1 : 0; }
uint64_t firstAlone(int rank, int) { return rank == 0 ? 1 : 0; }
uint64_t oneHost(int, int) { return 7; }
uint64_t eachAlone(int rank, int) { return static_cast<uint64_t>(rank); }

INSTANTIATE_TEST_SUITE_P(Spreads, HierLaneSpreads,
                         testing::Values(Spread{"inHalves", inHalves}, Spread{"inTurns", inTurns},
                                         Spread{"lastAlone", lastAlone},
                                         Spread{"firstAlone", firstAlone},
                                         Spread{"oneHost", oneHost},
                                         Spread{"eachAlone", eachAlone}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace flexlink
