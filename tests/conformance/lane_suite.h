// SPDX-License-Identifier: Apache-2.0
// What every lane must do, whatever carries it: collectives and messages between a few ranks,
// driven by one thread in an order made at random, so that any interleaving of ranks may come. A
// lane joins by a function that makes one connected lane for each rank.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "lane/lane.h"

namespace flexlink {

class SlowDevice;

// The lanes of one communicator, and what keeps them alive.
struct LaneSet {
  std::vector<Lane*> lanes;
  std::shared_ptr<void> keep;
};

// The same while somebody may still put other lanes above them.
struct OwnedLanes {
  std::shared_ptr<void> keep;  // outlives the lanes
  std::vector<std::unique_ptr<Lane>> lanes;
};
LaneSet laneSet(OwnedLanes made);

using MakeLanes = std::function<LaneSet(int ranks)>;

// Runs each rank's batch to its end, ranks in random order; all must end in kDone.
void runBatches(const LaneSet& set, const std::vector<Batch>& batches, uint32_t seed);

// The suite; failures are GoogleTest's.
void collectivesGiveExactResults(const MakeLanes& make);
void slicesGiveExactResults(const MakeLanes& make);
void messagesArriveInOrder(const MakeLanes& make);
void batchesMixMessagesAndCollectives(const MakeLanes& make);
void batchesOfMessagesDoNotWaitForEachOther(const MakeLanes& make);
void batchesOfMessagesKeepTheOrderOfAPair(const MakeLanes& make);
void messagesToOneselfMeetAcrossBatches(const MakeLanes& make);
void aReceiveEndsAloneWhenItsSenderHasLeft(const MakeLanes& make);
void unlikeCallsFailOnAllRanks(const MakeLanes& make);
void abortEndsWaiting(const MakeLanes& make);

// Who is told of a failure owns his memory again, also what rank 0's device was about to write: it
// is held back from the start of an AllReduce, or from when rank 0 waits for rank 1. Two ranks.
enum class HoldBack : uint8_t { kFromTheStart, kUnderWay };
void noDeviceWritesAfterAFailure(const LaneSet& set, SlowDevice* device, size_t count,
                                 HoldBack when);

}  // namespace flexlink
