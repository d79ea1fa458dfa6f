// SPDX-License-Identifier: Apache-2.0
#include "conformance/memory_lanes.h"

#include <gtest/gtest.h>

namespace flexlink {
namespace {

struct Held {
  std::vector<std::shared_ptr<OwnSegment>> segments;
  std::vector<ProbeComm*> probes;
  ~Held() {
    for (ProbeComm* probe : probes) ProbeWriter::process()->closeComm(probe);
  }
};

}  // namespace

OwnedLanes makeMemoryLanes(int ranks, MemoryTuning tuning, size_t poolBytes,
                           const MakeDevice& device) {
  EXPECT_TRUE(myProcessCard().ok());
  auto held = std::make_shared<Held>();
  SegmentLayout layout{ranks, poolBytes};
  std::vector<MemoryPeer> peers(static_cast<size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    held->segments.push_back(OwnSegment::create(layout).value());
    MemoryPeer& peer = peers[static_cast<size_t>(rank)];
    peer.segment = Segment(held->segments.back()->base(), layout);
    peer.own = held->segments.back();
    peer.bell = &myDoorbell();
    peer.rank = rank;
    peer.name = "rank " + std::to_string(rank);
  }
  OwnedLanes made;
  for (int rank = 0; rank < ranks; ++rank) {
    held->probes.push_back(ProbeWriter::process()->openComm({}));
    std::unique_ptr<CopyStream> copies;
    if (device) {
      const Segment own = peers[static_cast<size_t>(rank)].segment;
      copies = std::move(CopyStream::open(device(), {{own.base(), layout.bytes()}}).value());
    }
    made.lanes.push_back(std::make_unique<MemoryLane>(rank, peers, layout, tuning,
                                                      held->probes.back(), std::move(copies)));
  }
  made.keep = held;
  return made;
}

MemoryTuning tuned(bool direct, size_t eager, size_t chunk, int depth) {
  MemoryTuning tuning;
  tuning.direct = direct;
  tuning.eagerBytes = tuning.eagerFoldBytes = eager;
  tuning.chunkBytes = tuning.rootChunkBytes = chunk;
  tuning.directChunkBytes = 4096;
  tuning.depth = depth;
  tuning.streamBytes = 100000;
  return tuning;
}

}  // namespace flexlink
