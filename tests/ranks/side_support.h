// SPDX-License-Identifier: Apache-2.0
// Programs whose calls pass through to a second copy of the library, with lanes of ours beside it.
#pragma once

#include <unistd.h>

#include <string>

#include "support/check.h"
#include "support/gpu.h"
#include "support/numbers.h"
#include "support/rank_run.h"
#include "unit/probe_support.h"

namespace ranktest {

using flexlink::probetest::Reader;

inline RunOptions beside(int size, How how = How::kProcesses,
                         const char* lanes = "vendor:1,memory:1") {
  RunOptions o;
  o.size = size;
  o.how = how;
  o.env = {"FLEXLINK_PASS_THROUGH=1", "FLEXLINK_NCCL_PATH=" FLEXLINK_SECOND_COPY,
           std::string("FLEXLINK_LANES=") + lanes};
  return o;
}

// What our own lane has carried beside the vendor, as the probe of this process shows it.
struct Carried {
  uint64_t operations = 0;
  uint64_t bytes = 0;
};

inline Carried carried(const Reader& reader, int rank, const std::string& name = "side") {
  Carried sum;
  for (int i = 0; i < static_cast<int>(FLEXLINK_PROBE_SLOTS); ++i) {
    const FlexlinkProbeSlot& slot = reader.slot(i);
    const auto itsRank = static_cast<uint32_t>(Reader::load(slot.comm.rankAndRanks));
    if (name != slot.comm.name || itsRank != static_cast<uint32_t>(rank)) continue;
    for (const FlexlinkProbeLane& lane : slot.lanes) {  // one of them is at work
      sum.operations += Reader::load(lane.operations);
      sum.bytes += Reader::load(lane.totalBytes);
    }
  }
  return sum;
}

// Until all ranks cut their calls; each makes as many. `rank`: in this communicator.
inline void awaitCut(const Reader& reader, ncclComm_t comm, int rank,
                     const std::string& name = "side") {
  for (int round = 0;; ++round) {
    RANK_TRUE_MSG(round < 20'000, "our lane carries nothing");
    const int32_t seen = carried(reader, rank, name).operations > 0 ? 1 : 0;
    Numbers data(1000, seen);
    cudaStream_t stream = Gpu::use() != nullptr ? Gpu::perThread() : nullptr;
    RANK_OK(ncclAllReduce(data.at(), data.at(), data.count(), ncclInt32, ncclMin, comm, stream));
    if (Gpu* gpu = Gpu::use()) gpu->synchronize(stream);
    data.download();
    RANK_EQ(data.host[0], data.host[999]);
    if (data.host[0] == 1) break;
    usleep(500);
  }
}

// A world whose calls are cut from now on.
inline Comm cutWorld(RankContext& ctx, const Reader& reader) {
  Comm comm = makeWorld(ctx);
  awaitCut(reader, comm, ctx.rank);
  ctx.barrier();  // through with the last of those
  return comm;
}

}  // namespace ranktest
