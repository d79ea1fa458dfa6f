// SPDX-License-Identifier: Apache-2.0
// A call of all ranks of several hosts as calls of the lanes below: memory lanes inside the hosts,
// message lanes between them. Pure: every rank plans for itself, and the plans fit together.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lane/batch.h"
#include "lane/hier/host_map.h"

namespace flexlink {

// One segment of a call, as calls of this rank's lanes. Ranks of memory calls are local ranks, of
// rail calls hosts, of pair calls ranks of the communicator.
struct HierPart {
  Batch before;           // memory lane
  Batch rail;             // message lane of this rank's rail; when `before` is done
  Batch pairs;            // message lane between all ranks; likewise
  Batch after;            // memory lane; when rail and pairs are done
  bool together = false;  // `after` waits for nothing but its turn
};

// How the blocks of a call are cut; the same on all ranks.
size_t hierSegmentElements(const HostMap& map, const Call& call);

// Scratch memory that one segment of `elements` needs on this rank, in bytes.
size_t hierScratchBytes(const HostMap& map, const Call& call, size_t elements);

// `call`: a collective. `whole`: the call as the user made it; outlives the part.
HierPart hierPart(const HostMap& map, const Call& call, const Whole* whole, ElementRange segment,
                  uint8_t* scratch);

// The calls of one group that concern one peer, all together.
struct HierSingles {
  Batch inside;  // memory lane
  Batch pairs;   // message lane between all ranks
};
HierSingles hierSingles(const HostMap& map, const std::vector<Call>& calls);

}  // namespace flexlink
