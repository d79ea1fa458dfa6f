// SPDX-License-Identifier: Apache-2.0
// Small collectives: the payload came with the entry, so that once all are met nothing is awaited.
#include "device/host/kernels.h"
#include "lane/memory/memory_lane.h"

namespace flexlink {

const uint8_t* MemoryLane::eagerPayload(int peer) const {
  const Entry& entry = entryOf(peer);
  if (shape_.payload <= kInlineBytes) return entry.head.payload;
  if (shape_.payload <= kEntryPayload) return entry.payload;
  return peers_[static_cast<size_t>(peer)].segment.eagerRing() + eagerAt_;
}

// What lies at eagerAt_ was read before every rank entered the last collective, which used other
// bytes of the ring: it holds more than two payloads.
void MemoryLane::writeEager(Entry* entry) {
  bool ring = shape_.payload > kEntryPayload;
  if (ring) populate(&ringReady_, layout_.eagerRingAt(), kEagerRingBytes);
  bool rootGives = call_.kind == Collective::kBroadcast || call_.kind == Collective::kScatter;
  if (shape_.payload == 0 || call_.send == nullptr || (rootGives && !isRoot())) return;
  uint8_t* to = ring                             ? mySegment().eagerRing() + eagerAt_
                : shape_.payload <= kInlineBytes ? entry->head.payload
                                                 : entry->payload;
  const auto* send = static_cast<const uint8_t*>(call_.send);
  if (!shape_.blocks) {
    // What all ranks get goes into this rank's own result at the same time.
    void* dsts[2] = {to, ownResult()};
    bool alone = dsts[1] == nullptr || dsts[1] == send;
    return copyTo(dsts, alone ? 1 : 2, send, shape_.payload, sharedMask() & 1u);
  }
  if (shape_.stride != shape_.block) return writeBlocks(to);
  size_t mine = blockAt(rank_);
  size_t parts[2][2] = {{0, mine}, {mine + shape_.block, shape_.total}};
  for (auto [begin, end] : parts) {
    void* at = to + (begin == 0 ? 0 : begin - shape_.block);
    if (begin != end) copyTo(&at, 1, send + begin, end - begin, sharedMask());
  }
}

// A part of every peer's block, one behind the other.
void MemoryLane::writeBlocks(uint8_t* to) {
  for (int rank = 0; rank < ranks_; ++rank) {
    if (rank == rank_) continue;
    void* at = to;
    copyTo(&at, 1, static_cast<const uint8_t*>(call_.send) + blockAt(rank), shape_.block,
           sharedMask());
    to += shape_.block;
  }
}

// Where this rank's whole contribution stands in its own result; null: nowhere, or not unchanged.
uint8_t* MemoryLane::ownResult() const {
  auto* recv = static_cast<uint8_t*>(call_.recv);
  switch (call_.kind) {
    case Collective::kGather:
      if (!isRoot()) return nullptr;
      [[fallthrough]];
    case Collective::kAllGather:
      return recv + blockAt(rank_);
    case Collective::kBroadcast:
      return recv;
    default:
      return nullptr;
  }
}

// What `from` gives to this rank: its whole payload, or the block for this rank. This rank's own is
// read from the user's buffer: no entry holds it.
const uint8_t* MemoryLane::eagerSource(int from) const {
  if (!shape_.blocks) {
    return from == rank_ ? static_cast<const uint8_t*>(call_.send) : eagerPayload(from);
  }
  if (from == rank_) return static_cast<const uint8_t*>(call_.send) + blockAt(rank_);
  // The block of `from` itself is left out before this rank's.
  auto before = static_cast<size_t>(from < rank_ ? rank_ - 1 : rank_);
  return eagerPayload(from) + before * shape_.block;
}

void MemoryLane::copyEager(uint8_t* to, int from) {
  const uint8_t* source = eagerSource(from);
  void* dst = to;
  if (shape_.block != 0 && to != source) copyTo(&dst, 1, source, shape_.block, 0);
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
  copies_ != nullptr ? copies_->fold(args) : fold(args);
}

void MemoryLane::consumeEager() {
  auto* recv = static_cast<uint8_t*>(call_.recv);
  switch (call_.kind) {
    case Collective::kReduce:
      if (!isRoot()) return;
      [[fallthrough]];
    case Collective::kAllReduce:
    case Collective::kReduceScatter: {
      for (int rank = 0; rank < ranks_; ++rank) {
        sources_[static_cast<size_t>(rank)] = eagerSource(rank);
      }
      void* dst = recv;
      return foldInto(&dst, 1, shape_.block, 0);
    }
    case Collective::kBroadcast:
      if (isRoot()) return;  // writeEager() did it
      [[fallthrough]];
    case Collective::kScatter:
      return copyEager(recv, call_.root);
    case Collective::kGather:
      if (!isRoot()) return;
      [[fallthrough]];
    case Collective::kAllGather:
    case Collective::kAlltoAll:
      for (int rank = 0; rank < ranks_; ++rank) {
        if (rank == rank_ && call_.kind != Collective::kAlltoAll) continue;  // writeEager() did it
        copyEager(recv + blockAt(rank), rank);
      }
      return;
    default:
      return;
  }
}

}  // namespace flexlink
