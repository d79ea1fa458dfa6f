// SPDX-License-Identifier: Apache-2.0
// Memory lanes between ranks that are all driven by the test's one thread.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "conformance/lane_suite.h"
#include "lane/memory/memory_lane.h"

namespace flexlink {

// `device`: makes one for each rank, whose streams move the bytes; null: the CPU does.
using MakeDevice = std::function<std::shared_ptr<Device>()>;
OwnedLanes makeMemoryLanes(int ranks, MemoryTuning tuning, size_t poolBytes,
                           const MakeDevice& device = nullptr);

// Small pieces, so that small calls have many.
MemoryTuning tuned(bool direct, size_t eager, size_t chunk, int depth);

}  // namespace flexlink
