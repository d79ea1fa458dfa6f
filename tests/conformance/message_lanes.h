// SPDX-License-Identifier: Apache-2.0
// Message lanes between ranks that are all driven by the test's one thread.
#pragma once

#include "conformance/lane_suite.h"
#include "lane/message/message_lane.h"

namespace flexlink {

// Between each two ranks.
struct Links {
  int tcp;
  int pcie;
};
OwnedLanes makeMessageLanes(int ranks, Links links, const MessageTuning& tuning);

}  // namespace flexlink
