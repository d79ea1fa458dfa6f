// SPDX-License-Identifier: Apache-2.0
// Large collectives on buffers that every rank concerned can reach: exported memory (ncclMemAlloc)
// or threads of one process. One meeting, the work in place, one leave-taking.
#include "device/host/kernels.h"
#include "lane/memory/memory_lane.h"

namespace flexlink {
namespace {

struct Needs {
  bool send;
  bool recv;
};

// Which buffers of `rank` are touched by others.
Needs needsOf(const Call& call, int rank) {
  bool root = rank == call.root;
  switch (call.kind) {
    case Collective::kAllReduce:
      return {true, true};
    case Collective::kReduce:
      return {true, root};
    case Collective::kBroadcast:
    case Collective::kScatter:
      return {root, false};
    case Collective::kGather:
      return {false, root};
    default:
      return {true, false};
  }
}

constexpr int kMaxFoldTargets = 16;  // FoldArgs::nDsts

}  // namespace

void MemoryLane::writeBuffers(EntryBuffers* out) {
  EntryBuffers& buffers = *out;
  buffers.sendAddress = reinterpret_cast<uint64_t>(call_.send);
  buffers.recvAddress = reinterpret_cast<uint64_t>(call_.recv);
  RegionRef send, recv;
  if (tuning_.direct) {
    RegionTable& table = RegionTable::instance();
    send = table.find(call_.send, sendsBlocks(call_.kind) ? span() : shape_.block);
    recv = table.find(call_.recv, receivesBlocks(call_.kind) ? span() : shape_.block);
  }
  buffers.sendRegion = send.id;
  buffers.sendOffset = send.offset;
  buffers.recvRegion = recv.id;
  buffers.recvOffset = recv.offset;
  buffers.inPlaceWhole = call_.send == call_.recv;
}

// A payload that is not small stays at home where its rank expects the direct way: its own buffers
// are within reach.
bool MemoryLane::leavesOutPayload(int rank) const {
  if (!mayBeDirect_) return false;
  Needs needs = needsOf(call_, rank);
  return (needs.send || needs.recv) && reachable(rank);
}

// After the meeting. Where some left it out and others are out of reach, all take the staged way.
bool MemoryLane::payloadsCame() const {
  for (int rank = 0; rank < ranks_; ++rank) {
    if (leavesOutPayload(rank)) return false;
  }
  return true;
}

bool MemoryLane::reachable(int rank) const {
  if (oneProcess_) return true;
  const EntryBuffers& buffers = entryOf(rank).buffers;
  Needs needs = needsOf(call_, rank);
  return (!needs.send || buffers.sendRegion != 0) && (!needs.recv || buffers.recvRegion != 0);
}

// Every rank comes to the same answer: all read the same entries.
bool MemoryLane::directPossible() const {
  if (!tuning_.direct) return false;
  for (int rank = 0; rank < ranks_; ++rank) {
    bool inPlace = entryOf(rank).buffers.inPlaceWhole != 0;
    if (call_.kind == Collective::kAlltoAll && inPlace && ranks_ > 1) return false;
    if (!reachable(rank)) return false;
  }
  return true;
}

void* MemoryLane::translate(int peer, bool recvSide, bool* pending) {
  const MemoryPeer& who = peers_[static_cast<size_t>(peer)];
  const EntryBuffers& buffers = entryOf(peer).buffers;
  if (who.process == nullptr) {
    return reinterpret_cast<void*>(recvSide ? buffers.recvAddress : buffers.sendAddress);
  }
  void* base = who.process->mapped(recvSide ? buffers.recvRegion : buffers.sendRegion, pending);
  if (base == nullptr) return nullptr;
  return static_cast<uint8_t*>(base) + (recvSide ? buffers.recvOffset : buffers.sendOffset);
}

// Finds all buffers in this address space; a region that is new here is asked for and awaited.
Progress MemoryLane::resolve() {
  for (int rank = 0; rank < ranks_; ++rank) {
    Needs needs = needsOf(call_, rank);
    void* found[2] = {const_cast<void*>(call_.send), call_.recv};
    for (int side = 0; side < 2 && rank != rank_; ++side) {
      found[side] = nullptr;
      if (side == 0 ? !needs.send : !needs.recv) continue;
      bool pending = false;
      found[side] = translate(rank, side == 1, &pending);
      if (found[side] != nullptr) continue;
      if (pending) return Progress::kWaiting;
      return fail(
          makeStatus(Code::kRemote,
                     "rank %d cannot map the %s buffer of %s; was it freed with ncclMemFree "
                     "while in use?",
                     myRank(), side == 0 ? "send" : "receive",
                     peers_[static_cast<size_t>(rank)].name.c_str()));
    }
    sendOf_[static_cast<size_t>(rank)] = found[0];
    recvOf_[static_cast<size_t>(rank)] = found[1];
  }
  directIndex_ = 0;
  stage_ = Stage::kDirect;
  return Progress::kMoved;
}

Progress MemoryLane::pollDirect() {
  bool byShard = call_.kind == Collective::kAllReduce || call_.kind == Collective::kReduce;
  size_t work = byShard ? pieceOf(rank_).size() : shape_.block;
  size_t begin = directIndex_ * tuning_.directChunkBytes;
  if (begin < work) {
    ByteRange range{begin, std::min(work, begin + tuning_.directChunkBytes)};
    if (shape_.folds) {
      directFold(range);
    } else {
      directCopy(directIndex_);
    }
    ++directIndex_;
    return Progress::kMoved;
  }
  if (anybodyGaveUp()) return Progress::kFailed;
  publishClock(clockBase_ + 1);
  stage_ = Stage::kLeave;
  probe_->phase(ProbePhase::kLeaving);
  return Progress::kMoved;
}

void MemoryLane::copyOwn(void* to, const void* from, size_t bytes) {
  if (to != from) copyTo(&to, 1, from, bytes, resultMask());
}

void MemoryLane::directFold(ByteRange range) {
  size_t at = pieceOf(rank_).begin + range.begin;
  for (int rank = 0; rank < ranks_; ++rank) {
    sources_[static_cast<size_t>(rank)] =
        static_cast<const uint8_t*>(sendOf_[static_cast<size_t>(rank)]) + at;
  }
  uint32_t mask = resultMask();
  void* dsts[kMaxFoldTargets];
  int count = 0;
  if (call_.kind == Collective::kReduceScatter) {
    dsts[count++] = static_cast<uint8_t*>(call_.recv) + range.begin;
  } else if (call_.kind == Collective::kReduce) {
    dsts[count++] = static_cast<uint8_t*>(recvOf_[static_cast<size_t>(call_.root)]) + at;
  } else {
    for (int rank = 0; rank < std::min(ranks_, kMaxFoldTargets); ++rank) {
      dsts[count++] = static_cast<uint8_t*>(recvOf_[static_cast<size_t>(rank)]) + at;
    }
  }
  foldInto(dsts, count, range.size(), mask);
  for (int rank = count; call_.kind == Collective::kAllReduce && rank < ranks_; ++rank) {
    void* to = static_cast<uint8_t*>(recvOf_[static_cast<size_t>(rank)]) + at;
    copyTo(&to, 1, dsts[0], range.size(), mask);
  }
}

// Part `index` of every block that this rank moves: it pulls, except for Gather, where all push.
void MemoryLane::directCopy(size_t index) {
  ByteRange part = chunkOf(shape_.block, tuning_.directChunkBytes, static_cast<int64_t>(index));
  auto* recv = static_cast<uint8_t*>(call_.recv);
  uint32_t mask = resultMask();
  size_t mine = blockAt(rank_);
  auto copy = [&](uint8_t* to, const void* base, size_t offset) {
    const uint8_t* from = static_cast<const uint8_t*>(base) + offset + part.begin;
    void* dst = to + part.begin;
    if (dst != from) copyTo(&dst, 1, from, part.size(), mask);
  };
  auto root = static_cast<size_t>(call_.root);
  switch (call_.kind) {
    case Collective::kBroadcast:
      return copy(recv, sendOf_[root], 0);
    case Collective::kScatter:
      return copy(recv, sendOf_[root], mine);
    case Collective::kGather:
      return copy(static_cast<uint8_t*>(recvOf_[root]) + mine, call_.send, 0);
    default:
      break;
  }
  for (int turn = 0; turn < ranks_; ++turn) {
    // Each rank begins with its right neighbour, so that not all read one rank's memory at once.
    int rank = (rank_ + 1 + turn) % ranks_;
    copy(recv + blockAt(rank), sendOf_[static_cast<size_t>(rank)],
         call_.kind == Collective::kAlltoAll ? mine : 0);
  }
}

}  // namespace flexlink
