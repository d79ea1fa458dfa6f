// SPDX-License-Identifier: Apache-2.0
// Small collectives: the payload came with the entry, so that once all are met nothing is awaited.
#include <string.h>

#include "device/host/kernels.h"
#include "lane/memory/memory_lane.h"

namespace flexlink {

const void* MemoryLane::eagerPayload(int peer) const {
  const Entry& entry = entryOf(peer);
  if (shape_.payload <= kInlineBytes) return entry.head.payload;
  if (shape_.payload <= kEntryPayload) return entry.payload;
  return peers_[static_cast<size_t>(peer)].segment.eagerRing() + eagerAt_;
}

// What lies at eagerAt_ was read before every rank entered the last collective, which used other
// bytes of the ring: it holds more than two payloads.
void MemoryLane::writeEager(Entry* entry) {
  bool ring = shape_.payload > kEntryPayload;
  if (ring) populate(&ringReady_, mySegment().eagerRing(), kEagerRingBytes);
  if (eagerAt_ + shape_.payload > kEagerRingBytes) eagerAt_ = 0;
  bool rootGives = call_.kind == Collective::kBroadcast || call_.kind == Collective::kScatter;
  bool gives = shape_.payload != 0 && call_.send != nullptr && (!rootGives || isRoot());
  if (!gives) return;
  void* to = ring ? mySegment().eagerRing() + eagerAt_
             : shape_.payload <= kInlineBytes ? entry->head.payload
                                              : entry->payload;
  copyTo(&to, 1, call_.send, shape_.payload, sharedMask());
}

void MemoryLane::copyEager(void* to, int from, size_t offset, size_t bytes) {
  // This rank's own payload is read from the user's buffer: its entry may not hold it (root rules).
  const auto* source = static_cast<const uint8_t*>(from == rank_ ? call_.send : eagerPayload(from));
  if (bytes != 0 && to != source + offset) memcpy(to, source + offset, bytes);
}

// Folds sources_ (set by the caller) into dsts; scalars come from the entries.
void MemoryLane::foldInto(void* const* dsts, int nDsts, size_t bytes, uint32_t streamMask) {
  if (bytes == 0) return;
  FoldArgs args{};
  args.dsts = dsts;
  args.nDsts = nDsts;
  args.srcs = sources_.data();
  args.nSrcs = ranks_;
  args.count = bytes / shape_.element;
  args.type = call_.type;
  args.op = call_.op;
  args.divisor = ranks_;
  if (call_.op == ReduceOp::kPreMulSum) {
    for (int rank = 0; rank < ranks_; ++rank) {
      scalars_[static_cast<size_t>(rank)] =
          rank == rank_ ? call_.scalar : entryOf(rank).head.scalar;
    }
    args.scalars = scalars_.data();
  }
  args.streamMask = streamMask;
  fold(args);
}

void MemoryLane::consumeEager() {
  auto* recv = static_cast<uint8_t*>(call_.recv);
  size_t block = shape_.block;
  size_t mine = static_cast<size_t>(rank_) * block;
  switch (call_.kind) {
    case Collective::kReduce:
      if (!isRoot()) return;
      [[fallthrough]];
    case Collective::kAllReduce:
    case Collective::kReduceScatter: {
      size_t offset = call_.kind == Collective::kReduceScatter ? mine : 0;
      for (int rank = 0; rank < ranks_; ++rank) {
        const void* payload = rank == rank_ ? call_.send : eagerPayload(rank);
        sources_[static_cast<size_t>(rank)] = static_cast<const uint8_t*>(payload) + offset;
      }
      void* dst = recv;
      return foldInto(&dst, 1, block, 0);
    }
    case Collective::kBroadcast:
      return copyEager(recv, call_.root, 0, block);
    case Collective::kScatter:
      return copyEager(recv, call_.root, mine, block);
    case Collective::kGather:
      if (!isRoot()) return;
      [[fallthrough]];
    case Collective::kAllGather:
      for (int rank = 0; rank < ranks_; ++rank) {
        copyEager(recv + static_cast<size_t>(rank) * block, rank, 0, block);
      }
      return;
    case Collective::kAlltoAll:
      for (int rank = 0; rank < ranks_; ++rank) {
        copyEager(recv + static_cast<size_t>(rank) * block, rank, mine, block);
      }
      return;
    default:
      return;
  }
}

}  // namespace flexlink
