// SPDX-License-Identifier: Apache-2.0
// Large collectives on private memory that the kernel lets peers read (cross-memory attach):
// everybody pulls, nobody writes into another process. Beside the staged way: fewer cache lines
// change hands, but each page costs the kernel some work. Which is faster is measured
// (schedule/way_chooser.h).
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "lane/memory/memory_lane.h"

namespace flexlink {
namespace {

// Pulled, then folded while it is in the second-level cache.
constexpr size_t kFoldPieceBytes = 131072;

}  // namespace

// Bytes of `peer`'s send or receive buffer to `to`. False: the failure is set.
bool MemoryLane::pull(int peer, bool recvSide, ByteRange range, void* to) {
  const MemoryPeer& who = peers_[static_cast<size_t>(peer)];
  const EntryBuffers& buffers = entryOf(peer).buffers;
  uint64_t address = (recvSide ? buffers.recvAddress : buffers.sendAddress) + range.begin;
  if (who.process == nullptr) {
    memcpy(to, reinterpret_cast<const void*>(address), range.size());
    return true;
  }
  for (size_t done = 0; done < range.size();) {
    iovec local{static_cast<uint8_t*>(to) + done, range.size() - done};
    iovec remote{reinterpret_cast<void*>(address + done), range.size() - done};
    ssize_t got = process_vm_readv(who.pid, &local, 1, &remote, 1, 0);
    if (got > 0) {
      done += static_cast<size_t>(got);
      continue;
    }
    bool gone = errno == ESRCH || who.process->dead();
    (void)fail(gone ? makeStatus(Code::kRemote, "%s is dead while rank %d reads its memory in %s",
                                 who.name.c_str(), myRank(),
                                 describeCall(signatureOf(call_), countOf(call_)).c_str())
                    : makeStatus(Code::kSystem,
                                 "rank %d cannot read %zu bytes of %s with process_vm_readv: %s; "
                                 "FLEXLINK_CMA=0 goes without",
                                 myRank(), range.size(), who.name.c_str(), strerror(errno)));
    return false;
  }
  return true;
}

// Phase 0 reads what peers send; AllReduce then needs phase 1, which reads what they have folded.
Progress MemoryLane::pollAttached() {
  bool twoPhases = call_.kind == Collective::kAllReduce;
  if (attachedPhase_ == 1 && !peersReached(WaitFor::kAll, clockBase_ + 1))
    return Progress::kWaiting;
  size_t piece = attachedPhase_ == 0 && shape_.folds
                     ? std::min(kFoldPieceBytes,
                                layout_.poolBytes / static_cast<size_t>(ranks_) / kLine * kLine)
                     : tuning_.directChunkBytes;
  ByteRange part = chunkOf(shape_.shard, piece, static_cast<int64_t>(directIndex_));
  if (part.size() != 0) {
    ++directIndex_;
    bool ok = attachedPhase_ == 1 ? pullResults(part)
              : shape_.folds      ? pullFold(part)
                                  : pullBlocks(part);
    return ok ? Progress::kMoved : Progress::kFailed;
  }
  if (anybodyGaveUp()) return Progress::kFailed;
  directIndex_ = 0;
  ++attachedPhase_;
  publishClock(clockBase_ + static_cast<uint64_t>(attachedPhase_));
  if (twoPhases && attachedPhase_ == 1) return Progress::kMoved;
  leaveClock_ = static_cast<uint64_t>(attachedPhase_);
  stage_ = Stage::kLeave;
  return Progress::kMoved;
}

bool MemoryLane::pullFold(ByteRange part) {
  ByteRange mine = pieceOf(rank_);
  part.end = std::min(part.end, mine.size());
  if (part.begin >= part.end) return true;
  uint8_t* scratch = mySegment().pool();
  for (int rank = 0; rank < ranks_; ++rank) {
    auto at = static_cast<size_t>(rank);
    size_t from = mine.begin + part.begin;
    if (rank == rank_) {
      sources_[at] = static_cast<const uint8_t*>(call_.send) + from;
      continue;
    }
    uint8_t* to = scratch + at * (layout_.poolBytes / static_cast<size_t>(ranks_) / kLine * kLine);
    if (!pull(rank, false, {from, from + part.size()}, to)) return false;
    sources_[at] = to;
  }
  size_t into = call_.kind == Collective::kAllReduce ? mine.begin + part.begin : part.begin;
  void* dst = static_cast<uint8_t*>(call_.recv) + into;
  // Peers have read this memory in the operation before, or will do so in a moment.
  foldInto(&dst, 1, part.size(), sharedMask());
  return true;
}

bool MemoryLane::pullResults(ByteRange part) {
  for (int turn = 1; turn < ranks_; ++turn) {
    int rank = (rank_ + turn) % ranks_;
    ByteRange theirs = pieceOf(rank);
    size_t begin = std::min(theirs.size(), part.begin);
    size_t end = std::min(theirs.size(), part.end);
    ByteRange range{theirs.begin + begin, theirs.begin + end};
    if (!pull(rank, true, range, static_cast<uint8_t*>(call_.recv) + range.begin)) return false;
  }
  return true;
}

bool MemoryLane::pullBlocks(ByteRange part) {
  bool fromRoot = call_.kind == Collective::kBroadcast || call_.kind == Collective::kScatter;
  if (call_.kind == Collective::kGather && !isRoot()) return true;
  bool personal = call_.kind == Collective::kAlltoAll || call_.kind == Collective::kScatter;
  size_t mine = personal ? blockAt(rank_) : 0;
  auto* recv = static_cast<uint8_t*>(call_.recv);
  for (int turn = 1; turn <= ranks_; ++turn) {
    int rank = (rank_ + turn) % ranks_;
    if (fromRoot && rank != call_.root) continue;
    uint8_t* to = recv + (fromRoot ? 0 : blockAt(rank)) + part.begin;
    ByteRange range{mine + part.begin, mine + part.end};
    if (rank != rank_) {
      if (!pull(rank, false, range, to)) return false;
      continue;
    }
    const uint8_t* own = static_cast<const uint8_t*>(call_.send) + range.begin;
    copyOwn(to, own, range.size());
  }
  return true;
}

}  // namespace flexlink
