// SPDX-License-Identifier: Apache-2.0
// What the probe says of a communicator's life while ranks live it.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "support/check.h"
#include "support/rank_run.h"
#include "support/sanitized.h"
#include "unit/probe_support.h"

namespace ranktest {
namespace {

using flexlink::probetest::Reader;

// This rank's part of one communicator in the file of its process.
class Seen {
 public:
  Seen(ncclComm_t comm, int rank)
      : reader_(flexlink::ProbeWriter::process()->path()), rank_(static_cast<uint32_t>(rank)) {
    ncclCommProperties_t facts = NCCL_COMM_PROPERTIES_INITIALIZER;
    RANK_OK(ncclCommQueryProperties(comm, &facts));
    hash_ = facts.commHash;
  }

  // Null: there is none.
  const FlexlinkProbeSlot* slot() const {
    for (int i = 0; i < static_cast<int>(FLEXLINK_PROBE_SLOTS); ++i) {
      const FlexlinkProbeComm& comm = reader_.slot(i).comm;
      const bool mine = Reader::load(comm.id) == hash_ &&
                        static_cast<uint32_t>(Reader::load(comm.rankAndRanks)) == rank_;
      if (mine) return &reader_.slot(i);
    }
    return nullptr;
  }

  uint64_t state() const {
    const FlexlinkProbeSlot* mine = slot();
    return mine == nullptr ? FLEXLINK_PROBE_STATE_FREE : Reader::load(mine->comm.state);
  }

  bool comesTo(uint64_t wanted) const {
    const double end = nowSeconds() + 20 * kSlowdown;
    while (state() != wanted && nowSeconds() < end) usleep(1000);
    return state() == wanted;
  }

 private:
  Reader reader_;
  uint64_t hash_ = 0;
  uint32_t rank_;
};

// Rank 0 finalizes with work that the others have not come to yet.
RANK_BODY(SeenFinalizing) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  std::vector<int32_t> data(1000, 1);
  Seen seen(comm, ctx.rank);
  RANK_EQ(seen.state(), FLEXLINK_PROBE_STATE_READY);
  if (ctx.rank != 0) ctx.wait(0);
  RANK_OK(ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclMax, comm, stream));
  ncclResult_t finalized = ncclInternalError;
  std::thread finalizing([&] { finalized = ncclCommFinalize(comm); });
  const bool came = ctx.rank != 0 || seen.comesTo(FLEXLINK_PROBE_STATE_FINALIZING);
  if (ctx.rank == 0) ctx.set(0);
  finalizing.join();
  RANK_TRUE(came);
  RANK_EQ(finalized, ncclSuccess);
  RANK_EQ(seen.state(), FLEXLINK_PROBE_STATE_FINALIZING);
  comm.destroy();
  RANK_EQ(seen.state(), FLEXLINK_PROBE_STATE_CLOSED);
}

// What has failed stays failed.
RANK_BODY(SeenFailed) {
  Comm comm = makeWorld(ctx);
  Seen seen(comm, ctx.rank);
  RANK_OK(ncclCommRevoke(comm, NCCL_REVOKE_DEFAULT));
  RANK_EQ(seen.state(), FLEXLINK_PROBE_STATE_FAILED);
  RANK_IS(ncclCommFinalize(comm), ncclInvalidUsage);
  RANK_EQ(seen.state(), FLEXLINK_PROBE_STATE_FAILED);
  ctx.barrier();
  comm.destroy();
  RANK_EQ(seen.state(), FLEXLINK_PROBE_STATE_CLOSED);
}

// Who looks afterwards can tell a communicator that was aborted from one that came to its end.
RANK_BODY(SeenAborted) {
  Comm comm = makeWorld(ctx);
  Seen seen(comm, ctx.rank);
  ctx.barrier();
  comm.abort();
  RANK_EQ(seen.state(), FLEXLINK_PROBE_STATE_ABORTED);
}

// What two lanes carry is one operation, and each shows its own bytes.
RANK_BODY(SeenSplit) {
  Comm comm = makeWorld(ctx);
  Seen seen(comm, ctx.rank);
  std::vector<int32_t> data(4096, 1);
  for (int i = 0; i < 20; ++i) {
    RANK_OK(
        ncclAllReduce(data.data(), data.data(), data.size(), ncclInt32, ncclMax, comm, nullptr));
  }
  const FlexlinkProbeSlot* slot = seen.slot();
  RANK_TRUE(slot != nullptr);
  const uint64_t bytes = 20 * data.size() * sizeof(int32_t);
  RANK_EQ(Reader::load(slot->comm.operations), 20u);
  RANK_EQ(Reader::load(slot->comm.completed), 20u);
  RANK_EQ(Reader::load(slot->lanes[FLEXLINK_PROBE_LANE_VENDOR].totalBytes), bytes / 4);
  RANK_EQ(Reader::load(slot->lanes[FLEXLINK_PROBE_LANE_MEMORY].totalBytes), bytes / 4 * 3);
  ctx.barrier();
}

void pass(const char* body) {
  for (How how : {How::kThreads, How::kProcesses}) {
    RunOptions o;
    o.how = how;
    expectRanksPass(body, o);
  }
}

TEST(ProbeOfRanks, FinalizingIsSeenWhileTheLastCallsRunAndUntilDestroy) { pass("SeenFinalizing"); }
TEST(ProbeOfRanks, WhatIsSplitBetweenLanesIsOneOperation) {
  RunOptions o;
  o.lanes = "vendor:1,memory:3";
  expectRanksPass("SeenSplit", o);
}
TEST(ProbeOfRanks, AFailedCommunicatorIsNotSeenFinalizing) { pass("SeenFailed"); }
TEST(ProbeOfRanks, AnAbortedCommunicatorEndsAsAborted) { pass("SeenAborted"); }

}  // namespace
}  // namespace ranktest
