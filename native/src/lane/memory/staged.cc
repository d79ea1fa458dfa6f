// SPDX-License-Identifier: Apache-2.0
// Large collectives on buffers that peers cannot reach: chunk by chunk through this rank's pool,
// small enough to stay in the cache. The order of steps is schedule/chunked.h.
#include "device/host/kernels.h"
#include "lane/memory/memory_lane.h"

namespace flexlink {

void MemoryLane::planStaged() {
  bool threeStages = !shape_.oneShot &&
                     (call_.kind == Collective::kAllReduce || call_.kind == Collective::kReduce);
  auto depth = static_cast<size_t>(tuning_.depth);
  size_t fits = layout_.poolBytes / (depth * slotsPerChunk()) / kLine * kLine;
  bool rooted = call_.kind == Collective::kBroadcast || call_.kind == Collective::kScatter ||
                call_.kind == Collective::kGather;
  chunkBytes_ = std::min(rooted ? tuning_.rootChunkBytes : tuning_.chunkBytes, fits);
  // Equal chunks: a short last one would cost a whole round of hand-overs.
  size_t chunks = (shape_.shard + chunkBytes_ - 1) / chunkBytes_;
  if (chunks > 1) {
    chunkBytes_ = std::min(chunkBytes_, (shape_.shard / chunks + kLine) / kLine * kLine);
  }
  schedule_.stages = threeStages ? 3 : 2;
  schedule_.chunks = (shape_.shard + chunkBytes_ - 1) / chunkBytes_;
  stepIndex_ = 0;
  if (stagingOf(rank_) == nullptr) populate(&poolReady_, layout_.poolAt(), layout_.poolBytes);
  // On from where the last collective ended, round the whole pool (segment.h: kEagerRingBytes).
  size_t chunkRoom = chunkBytes_ * slotsPerChunk();
  schedule_.depth = static_cast<int>(layout_.poolBytes / chunkRoom);
  firstChunk_ = (poolAt_ + chunkRoom - 1) / chunkRoom;
  poolAt_ = (firstChunk_ + schedule_.chunks) % static_cast<uint64_t>(schedule_.depth) * chunkRoom;
}

// Pieces of chunkBytes_ that one chunk takes of the pool: one for each rank where they differ. Who
// folds needs no place for its own contribution: there its result lies.
size_t MemoryLane::slotsPerChunk() const {
  return shape_.personal ? static_cast<size_t>(ranks_) : 1;
}

uint8_t* MemoryLane::inSlot(int owner, int64_t chunk, int forRank) const {
  size_t at = (firstChunk_ + static_cast<size_t>(chunk)) % static_cast<size_t>(schedule_.depth) *
              slotsPerChunk();
  if (shape_.personal) at += static_cast<size_t>(forRank);
  uint8_t* pool = stagingOf(owner);
  if (pool == nullptr) pool = peers_[static_cast<size_t>(owner)].segment.pool();
  return pool + at * chunkBytes_;
}

uint8_t* MemoryLane::outSlot(int owner, int64_t chunk) const { return inSlot(owner, chunk, owner); }

// The piece of the larger buffer that belongs to `rank`.
ByteRange MemoryLane::pieceOf(int rank) const {
  if (shape_.oneShot) return {0, shape_.block};
  if (call_.kind == Collective::kAllReduce || call_.kind == Collective::kReduce) {
    return shardOf(shape_.block, ranks_, rank);
  }
  return {blockAt(rank), blockAt(rank) + shape_.block};
}

MemoryLane::WaitFor MemoryLane::stagedWaitsFor(int stage) const {
  switch (call_.kind) {
    case Collective::kReduce:
      return stage < 2 || isRoot() ? WaitFor::kAll : WaitFor::kNone;
    case Collective::kBroadcast:
    case Collective::kScatter:
      if (stage == 0) return isRoot() ? WaitFor::kAll : WaitFor::kNone;
      return isRoot() ? WaitFor::kNone : WaitFor::kRoot;
    case Collective::kGather:
      if (stage == 0) return isRoot() ? WaitFor::kNone : WaitFor::kRoot;
      return isRoot() ? WaitFor::kAll : WaitFor::kNone;
    default:
      return WaitFor::kAll;
  }
}

Progress MemoryLane::pollStaged() {
  if (stepIndex_ == schedule_.steps()) return endStaged();
  ChunkedSchedule::Step step = schedule_.step(stepIndex_);
  if (!schedule_.idle(step)) {
    uint64_t needs = schedule_.needs(step);
    if (needs != 0 && !peersReached(stagedWaitsFor(step.stage), clockBase_ + needs)) {
      return Progress::kWaiting;
    }
    runStep(step);
  }
  // Steps in which nothing is to be done are not worth a line that changes hands.
  do {
    ++stepIndex_;
  } while (stepIndex_ < schedule_.steps() && schedule_.idle(schedule_.step(stepIndex_)));
  publishClock(clockBase_ + stepIndex_);
  return Progress::kMoved;
}

// What a device moves may still be under way: it says so by this rank's own clock.
Progress MemoryLane::endStaged() {
  const uint64_t end = clockBase_ + schedule_.steps();
  if (!told(mySegment().header().clock, end)) {
    waitingFor_.store(-1, std::memory_order_relaxed);
    return Progress::kWaiting;
  }
  clockBase_ = end;
  return finishCollective();
}

void MemoryLane::runStep(const ChunkedSchedule::Step& step) {
  if (step.stage == 0) {
    stageIn(step.chunk);
  } else if (step.stage == 1 && shape_.folds) {
    stageFold(step.chunk);
  } else {
    stageOut(step.chunk);
  }
}

void MemoryLane::put(void* const* dsts, int nDsts, const void* from, size_t bytes,
                     uint32_t streamMask) {
  if (copies_ == nullptr) return copyTo(dsts, nDsts, from, bytes, streamMask);
  for (int i = 0; i < nDsts; ++i) copies_->copy(dsts[i], from, bytes);
}

// Puts this rank's contribution to the chunk where the peers can read it; what this rank owes
// itself is copied on the way.
void MemoryLane::stageIn(int64_t chunk) {
  const auto* send = static_cast<const uint8_t*>(call_.send);
  auto* recv = static_cast<uint8_t*>(call_.recv);
  bool rootGives = call_.kind == Collective::kBroadcast || call_.kind == Collective::kScatter;
  if (rootGives && !isRoot()) return;
  if (shape_.personal) {
    for (int rank = 0; rank < ranks_; ++rank) {
      ByteRange piece = pieceOf(rank);
      ByteRange part = chunkOf(piece.size(), chunkBytes_, chunk);
      const uint8_t* from = send + piece.begin + part.begin;
      void* to = inSlot(rank_, chunk, rank);
      uint32_t mask = sharedMask();
      if (rank == rank_) {
        // Folds read their own contribution from the user's buffer.
        if (shape_.folds) continue;
        to = recv + (call_.kind == Collective::kScatter ? 0 : piece.begin) + part.begin;
        mask = resultMask();
      }
      if (to != from) put(&to, 1, from, part.size(), mask);
    }
    return;
  }
  ByteRange part = chunkOf(shape_.block, chunkBytes_, chunk);
  size_t mine = call_.kind == Collective::kBroadcast || shape_.folds ? 0 : blockAt(rank_);
  bool keeps = !shape_.folds && (call_.kind != Collective::kGather || isRoot());
  void* dsts[2] = {inSlot(rank_, chunk, 0), keeps ? recv + mine + part.begin : nullptr};
  bool stages = call_.kind != Collective::kGather || !isRoot();
  keeps = keeps && dsts[1] != send + part.begin;
  int count = (stages ? 1 : 0) + (keeps ? 1 : 0);
  if (count == 0) return;
  uint32_t mask = (sharedMask() & 1u) | (resultMask() & 2u);
  if (!stages) mask >>= 1;
  put(stages ? dsts : dsts + 1, count, send + part.begin, part.size(), mask);
}

void MemoryLane::stageFold(int64_t chunk) {
  ByteRange piece = pieceOf(rank_);
  ByteRange part = chunkOf(piece.size(), chunkBytes_, chunk);
  for (int rank = 0; rank < ranks_; ++rank) {
    sources_[static_cast<size_t>(rank)] =
        rank == rank_ ? static_cast<const uint8_t*>(call_.send) + piece.begin + part.begin
                      : inSlot(rank, chunk, rank_);
  }
  auto* recv = static_cast<uint8_t*>(call_.recv);
  uint32_t stream = resultMask();
  if (call_.kind == Collective::kReduceScatter) {
    void* dst = recv + part.begin;
    return foldInto(&dst, 1, part.size(), stream);
  }
  bool keeps = call_.kind == Collective::kAllReduce || isRoot();
  bool shares = !shape_.oneShot && (call_.kind == Collective::kAllReduce || !isRoot());
  if (!keeps && !shares) return;
  void* dsts[2] = {shares ? outSlot(rank_, chunk) : recv + piece.begin + part.begin,
                   keeps ? recv + piece.begin + part.begin : nullptr};
  uint32_t mask = shares ? (sharedMask() & 1u) | (stream & 2u) : stream & 1u;
  foldInto(dsts, keeps && shares ? 2 : 1, part.size(), mask);
}

// Takes the chunk of every peer that has one for this rank.
void MemoryLane::stageOut(int64_t chunk) {
  auto* recv = static_cast<uint8_t*>(call_.recv);
  uint32_t mask = resultMask();
  bool rootOnly = call_.kind == Collective::kReduce || call_.kind == Collective::kGather;
  bool fromRoot = call_.kind == Collective::kBroadcast || call_.kind == Collective::kScatter;
  if (rootOnly ? !isRoot() : fromRoot && isRoot()) return;
  for (int rank = 0; rank < ranks_; ++rank) {
    if (rank == rank_ || (fromRoot && rank != call_.root)) continue;
    ByteRange piece = fromRoot ? ByteRange{0, shape_.block} : pieceOf(rank);
    ByteRange part = chunkOf(piece.size(), chunkBytes_, chunk);
    if (part.size() == 0) continue;
    const uint8_t* from = schedule_.stages == 3 ? outSlot(rank, chunk) : inSlot(rank, chunk, rank_);
    void* to = recv + piece.begin + part.begin;
    put(&to, 1, from, part.size(), mask);
  }
}

}  // namespace flexlink
