// SPDX-License-Identifier: Apache-2.0
// Hier lanes between ranks that are all driven by the test's one thread.
#pragma once

#include <cstdint>

#include "conformance/lane_suite.h"
#include "lane/hier/hier_lane.h"

namespace flexlink {

// The host of a rank, one of `ranks`.
using HostOf = uint64_t (*)(int rank, int ranks);
OwnedLanes makeHierLanes(int ranks, HostOf hostOf);

}  // namespace flexlink
