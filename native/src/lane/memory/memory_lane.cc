// SPDX-License-Identifier: Apache-2.0
// The collective from entry to exit: who is here, do all mean the same, which way is taken.
#include "lane/memory/memory_lane.h"

#include <string.h>

#include "base/clock.h"
#include "device/host/kernels.h"
#include "engine/fd_bell.h"

namespace flexlink {

MemoryTuning memoryTuning(const TuningFacts& facts) {
  MemoryTuning tuning;
  tuning.direct = facts.direct;
  tuning.cma = facts.cma;
  tuning.eagerBytes = kEagerCapacity;
  tuning.eagerFoldBytes = facts.ranks <= 2 ? 65536 : facts.ranks <= 4 ? 8192 : 2048;
  if (facts.oversubscribed) {
    // A hand-over costs a context switch: few, long steps.
    tuning.chunkBytes = tuning.rootChunkBytes = 512 << 10;
    tuning.eagerFoldBytes = facts.ranks <= 8 ? 65536 : 16384;
    tuning.directBytes = 16384;
  }
  if (facts.eagerBytes >= 0) {
    tuning.eagerBytes = std::min(static_cast<size_t>(facts.eagerBytes), kEagerCapacity);
    tuning.eagerFoldBytes = tuning.eagerBytes;
  }
  if (facts.byDevice) {
    tuning.byDevice = true;
    tuning.direct = tuning.cma = false;
    tuning.chunkBytes = tuning.rootChunkBytes = 512 << 10;  // what is enqueued costs, not bytes
    tuning.oneShotBytes = facts.ranks <= 4 ? 256 << 10 : 64 << 10;
  }
  if (facts.chunkBytes > 0) {
    tuning.chunkBytes = tuning.rootChunkBytes =
        std::max<size_t>(static_cast<size_t>(facts.chunkBytes) / kLine * kLine, kLine);
  }
  return tuning;
}

MemoryLane::MemoryLane(int rank, std::vector<MemoryPeer> peers, SegmentLayout layout,
                       MemoryTuning tuning, ProbeComm* probe, std::unique_ptr<CopyStream> copies)
    : rank_(rank),
      ranks_(static_cast<int>(peers.size())),
      peers_(std::move(peers)),
      layout_(layout),
      staging_{layout.ranks, layout.poolBytes},
      tuning_(tuning),
      copies_(std::move(copies)),
      probe_(probe),
      shown_(probe, FLEXLINK_PROBE_LANE_MEMORY) {
  for (const MemoryPeer& peer : peers_) oneProcess_ = oneProcess_ && peer.process == nullptr;
  size_t ranks = peers_.size();
  sendOf_.resize(ranks);
  recvOf_.resize(ranks);
  sources_.resize(ranks);
  scalars_.resize(ranks);
  produced_.resize(ranks);
  consumed_.resize(ranks);
  signalsSent_.resize(ranks * kSignals);
  signalsTaken_.resize(ranks * kSignals);
  blockedPeers_.resize(ranks);
  moves_.resize(2 * ranks);
  seenEnd_.resize(ranks);
}

void MemoryLane::start(const Batch& batch) {
  outcome_ = {};
  if (batch.single.empty()) return startCollectives(batch);
  startSingles(batch);
  stage_ = Stage::kSingle;
}

void MemoryLane::startCollectives(const Batch& batch) {
  batch_ = &batch;
  batchIndex_ = 0;
  nextCollective();
}

void MemoryLane::startCollective(const Call& call) {
  if (!outcome_.ok()) [[unlikely]]
    outcome_ = {};
  batch_ = nullptr;
  call_ = call;
  beginCollective();
}

void MemoryLane::nextCollective() {
  if (batch_ == nullptr || batchIndex_ == batch_->collective.size()) {
    stage_ = Stage::kIdle;
    finished_ = batch_;
    return;
  }
  call_ = batch_->collective[batchIndex_++];
  beginCollective();
}

void MemoryLane::beginCollective() {
  Shape shape;
  auto ranks = static_cast<size_t>(ranks_);
  shape.element = typeSize(call_.type);
  shape.block = call_.count * shape.element;
  shape.stride = strideOf(call_) * shape.element;
  shape.total = shape.payload = shape.block;
  switch (call_.kind) {
    case Collective::kAllReduce:
    case Collective::kReduce:
      shape.folds = shape.personal = true;
      shape.shard = shardOf(shape.block, ranks_, 0).size();
      break;
    case Collective::kReduceScatter:
      shape.folds = true;
      [[fallthrough]];
    case Collective::kAlltoAll:
    case Collective::kScatter:
      shape.personal = true;
      shape.total = shape.block * ranks;
      shape.blocks = true;
      shape.payload = shape.total - shape.block;  // nobody else needs this rank's own block
      shape.shard = shape.block;
      break;
    case Collective::kAllGather:
    case Collective::kGather:
      shape.total = shape.block * ranks;
      [[fallthrough]];
    default:
      shape.shard = shape.block;
  }
  bool redundant = call_.kind == Collective::kAllReduce || call_.kind == Collective::kReduce;
  if (copies_ != nullptr && redundant && shape.block <= tuning_.oneShotBytes) {
    shape.oneShot = true;
    shape.personal = false;
    shape.shard = shape.block;
  }
  shape_ = shape;
  eager_ = shape.payload <= (redundant ? tuning_.eagerFoldBytes : tuning_.eagerBytes);
  if (copies_ != nullptr) eager_ = shape_.block == 0;
  mayBeDirect_ = eager_ && tuning_.direct && shape.payload >= tuning_.directBytes;
  meetNext_ = 0;
  scalarAsked_ = false;
  stage_ = Stage::kEnter;
  probe_->begin(call_.seq, probeCall(call_, shape.total));
  probe_->phase(ProbePhase::kMeeting);
}

void MemoryLane::probeFailure(const Status& status) {
  if (stage_ == Stage::kIdle || probedFailure_) return;
  probedFailure_ = true;
  probe_->end(seqAtHand(), static_cast<uint8_t>(status.code()));
}

Progress MemoryLane::finishCollective() {
  ++seq_;
  if (shape_.payload > kEntryPayload && eager_) eagerAt_ += wholeLines(shape_.payload);
  if (timed()) reportWay();
  probe_->end(call_.seq, 0);
  operations_.store(operations_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  bytes_.store(bytes_.load(std::memory_order_relaxed) + shape_.total, std::memory_order_relaxed);
  nextCollective();
  return stage_ == Stage::kIdle ? Progress::kDone : Progress::kMoved;
}

Progress MemoryLane::poll() {
  if (aborted_.load(std::memory_order_acquire)) {
    if (failure_.ok()) failure_ = boardStatus(rank_);
    return Progress::kFailed;
  }
  ++polls_;
  const bool copying =
      stage_ == Stage::kSingle || stage_ == Stage::kStaged || stage_ == Stage::kEnter;
  if (copies_ != nullptr && copying) {
    nobodyRings = true;
    Status status = copies_->drive();
    if (!status.ok()) return fail(std::move(status));
  }
  switch (stage_) {
    case Stage::kIdle:
      finished_ = nullptr;
      return Progress::kDone;
    case Stage::kSingle:
      return pollSingles();
    case Stage::kEnter:
      if (!scalarCame()) return Progress::kWaiting;
      publishEntry();
      stage_ = Stage::kMeet;
      [[fallthrough]];
    case Stage::kMeet:
      return meet();
    case Stage::kResolve:
      return resolve();
    case Stage::kDirect:
      return pollDirect();
    case Stage::kLeave:
      if (!peersReached(WaitFor::kAll, clockBase_ + leaveClock_)) return Progress::kWaiting;
      clockBase_ += leaveClock_;
      return finishCollective();
    case Stage::kAttached:
      return pollAttached();
    case Stage::kStaged:
      return pollStaged();
  }
  return Progress::kDone;
}

// A scalar that the program keeps in memory is read when the operation runs: where the device alone
// may read it, through the entry.
bool MemoryLane::scalarCame() {
  if (call_.scalarAddress == nullptr) return true;
  if (copies_ == nullptr) {
    memcpy(&call_.scalar, call_.scalarAddress, shape_.element);
    return true;
  }
  uint64_t& there = entryOf(rank_).head.scalar;
  if (!scalarAsked_) {
    copies_->copy(&there, call_.scalarAddress, shape_.element);
    scalarAsked_ = true;
  }
  if (!copies_->idle()) return false;
  memcpy(&call_.scalar, &there, shape_.element);
  return true;
}

void MemoryLane::publishEntry() {
  Entry& entry = entryOf(rank_);
  chooseWay();
  entry.head.signature = signatureOf(call_);
  entry.head.count = countOf(call_);
  entry.head.scalar = call_.scalar;
  if (!eager_ || mayBeDirect_) writeBuffers(&entry.buffers);
  // On all ranks alike, whoever writes.
  if (eager_ && eagerAt_ + shape_.payload > kEagerRingBytes) eagerAt_ = 0;
  if (eager_ && !leavesOutPayload(rank_)) writeEager(&entry);
  entry.head.stamp.exchange(seq_ + 1, std::memory_order_seq_cst);  // pairs with meet()'s acquire
  ringPeers();
  if (timed()) entered_ = nowNanos();
}

Progress MemoryLane::meet() {
  uint64_t signature = signatureOf(call_), count = countOf(call_);
  for (; meetNext_ < ranks_; ++meetNext_) {
    if (meetNext_ == rank_) continue;
    const EntryHead& head = entryOf(meetNext_).head;
    if (head.stamp.load(std::memory_order_acquire) != seq_ + 1) {
      waitingFor_.store(meetNext_, std::memory_order_relaxed);
      return Progress::kWaiting;
    }
    if (head.signature != signature || head.count != count) return fail(mismatch(meetNext_));
  }
  return afterMeeting();
}

Progress MemoryLane::afterMeeting() {
  if (timed() && !isRooted(call_.kind)) workBegan_ += nowNanos() - entered_;
  takeWay();
  usedDirect_ = (!eager_ || mayBeDirect_) && directPossible();
  if (eager_ && !usedDirect_ && payloadsCame()) {
    consumeEager();
    return finishCollective();
  }
  probe_->phase(ProbePhase::kMoving);
  if (usedDirect_ || eager_) {
    way_ = kWayPlain;
    habit_ = nullptr;
  }
  if (usedDirect_) {
    leaveClock_ = 1;
    stage_ = Stage::kResolve;
  } else if (attached()) {
    attachedPhase_ = 0;
    directIndex_ = 0;
    stage_ = Stage::kAttached;
  } else {
    planStaged();
    stage_ = Stage::kStaged;
  }
  return Progress::kMoved;
}

bool MemoryLane::peersReached(WaitFor whom, uint64_t clock) {
  if (whom == WaitFor::kNone) return true;
  int first = whom == WaitFor::kRoot ? call_.root : 0;
  int last = whom == WaitFor::kRoot ? call_.root + 1 : ranks_;
  for (int peer = first; peer < last; ++peer) {
    if (peer == rank_) continue;
    const auto& header = peers_[static_cast<size_t>(peer)].segment.header();
    // Pairs with the peer's publishClock.
    if (header.clock.load(std::memory_order_acquire) < clock) {
      waitingFor_.store(peer, std::memory_order_relaxed);
      return false;
    }
  }
  return true;
}

void MemoryLane::publishClock(uint64_t clock) {
  if (copies_ != nullptr) return copies_->publish(mySegment().header().clock, clock);
  mySegment().header().clock.exchange(clock, std::memory_order_seq_cst);
  ringPeers();
}

void MemoryLane::ringPeers() {
  for (int peer = 0; peer < ranks_; ++peer) {
    if (peer != rank_) peers_[static_cast<size_t>(peer)].bell->ring();
  }
}

void MemoryLane::ringPeer(int peer) { peers_[static_cast<size_t>(peer)].bell->ring(); }

Status MemoryLane::mismatch(int peer) const {
  int first = peer < rank_ ? peer : rank_;
  int second = peer < rank_ ? rank_ : peer;
  const EntryHead& a = entryOf(first).head;
  const EntryHead& b = entryOf(second).head;
  return makeStatus(
      Code::kInvalidUsage,
      "operation %llu does not match: rank %d called %s, rank %d called %s; all ranks "
      "must make the same calls in the same order",
      static_cast<unsigned long long>(call_.seq), peers_[static_cast<size_t>(first)].rank,
      describeCall(a.signature, a.count).c_str(), peers_[static_cast<size_t>(second)].rank,
      describeCall(b.signature, b.count).c_str());
}

uint64_t MemoryLane::seqAtHand() const {
  return stage_ == Stage::kSingle ? singles_.front()->batch->single.front().seq : call_.seq;
}

Progress MemoryLane::fail(Status status) {
  if (failure_.ok()) failure_ = std::move(status);
  abort(failure_);
  return Progress::kFailed;
}

bool MemoryLane::satisfied(int peer) const {
  if (stage_ == Stage::kSingle || stage_ == Stage::kIdle) return true;
  const auto& header = peers_[static_cast<size_t>(peer)].segment.header();
  bool came = header.entries[seq_ & 1].head.stamp.load(std::memory_order_acquire) == seq_ + 1;
  if (!came || stage_ == Stage::kMeet) return came;
  bool twoPhases = attached() && call_.kind == Collective::kAllReduce;
  uint64_t end = clockBase_ + (stage_ == Stage::kStaged ? schedule_.steps() : twoPhases ? 2 : 1);
  return header.clock.load(std::memory_order_acquire) >= end;
}

// Has a poll found nothing more since it was first seen that the peer has left or given up?
bool MemoryLane::polledSinceEnd(size_t peer) {
  if (seenEnd_[peer] == 0) seenEnd_[peer] = polls_;
  return seenEnd_[peer] != polls_;
}

// A peer that has given up ends the call at hand, unless it was through with it: then all that this
// rank needs of it is there, perhaps only since the last poll.
bool MemoryLane::endsCall(int peer) {
  if (stage_ == Stage::kIdle || !satisfied(peer)) return true;
  const bool met = stage_ >= Stage::kResolve;
  return !met && polledSinceEnd(static_cast<size_t>(peer));
}

Status MemoryLane::deadOrGone(int peer) {
  const MemoryPeer& who = peers_[static_cast<size_t>(peer)];
  bool dead = who.process != nullptr && who.process->dead();
  bool closed = who.segment.header().closed.load(std::memory_order_acquire) != 0;
  if (!dead && !closed) return {};
  bool needed = stage_ == Stage::kSingle ? missesMessages(peer, closed) : !satisfied(peer);
  if (!needed) return {};
  Status gone = makeStatus(Code::kRemote, "%s %s while rank %d waits in operation %llu (%s)",
                           who.name.c_str(), closed ? "has left the communicator" : "is dead",
                           myRank(), static_cast<unsigned long long>(seqAtHand()),
                           stage_ == Stage::kSingle
                               ? "point to point"
                               : describeCall(signatureOf(call_), countOf(call_)).c_str());
  const bool alone = stage_ == Stage::kSingle && closed && loseReceives(peer, gone);
  return alone ? Status() : gone;
}

Status MemoryLane::boardStatus(int rank) const {
  const ErrorBoard& board = peers_[static_cast<size_t>(rank)].segment.header().error;
  return {static_cast<Code>(board.code),
          std::string(board.text, strnlen(board.text, sizeof board.text))};
}

Status MemoryLane::check() {
  if (!failure_.ok()) return failure_;
  if (stage_ != Stage::kIdle) probe_->waitsFor(waitingFor_.load(std::memory_order_relaxed));
  for (int peer = 0; peer < ranks_; ++peer) {
    if (peer == rank_) continue;
    const MemoryPeer& who = peers_[static_cast<size_t>(peer)];
    // Pairs with abort()'s release.
    if (who.segment.header().error.set.load(std::memory_order_acquire) != 0) {
      if (endsCall(peer)) failure_ = boardStatus(peer);
    } else if (stage_ != Stage::kIdle) {
      failure_ = deadOrGone(peer);
    } else if (who.process != nullptr && who.process->dead() &&
               who.segment.header().closed.load(std::memory_order_acquire) == 0) {
      failure_ = makeStatus(Code::kRemote, "%s is dead", who.name.c_str());
    }
    if (!failure_.ok()) {
      abort(failure_);
      return failure_;
    }
  }
  return {};
}

// Did a peer give up while this rank was reading its user's memory? Then the user may have changed
// it. Called when the reading is over and the peer, which waits for that, does not know it yet.
bool MemoryLane::gaveUp(int peer) {
  const auto& board = peers_[static_cast<size_t>(peer)].segment.header().error;
  std::atomic_thread_fence(std::memory_order_acquire);  // the reading comes first
  // Pairs with abort()'s release.
  if (peer == rank_ || board.set.load(std::memory_order_acquire) == 0) return false;
  (void)fail(boardStatus(peer));
  return true;
}

bool MemoryLane::anybodyGaveUp() {
  for (int peer = 0; peer < ranks_; ++peer) {
    if (gaveUp(peer)) return true;
  }
  return false;
}

void MemoryLane::abort(const Status& reason) {
  if (boardTaken_.exchange(true, std::memory_order_acq_rel)) return;  // the first reason stays
  ErrorBoard& board = mySegment().header().error;
  board.code = static_cast<int32_t>(reason.code());
  strncpy(board.text, reason.text(), sizeof board.text - 1);
  board.set.store(1, std::memory_order_release);  // pairs with check()'s acquire
  aborted_.store(true, std::memory_order_release);
  for (const MemoryPeer& peer : peers_) peer.bell->wakeAll();
}

void MemoryLane::close() {
  mySegment().header().closed.store(1, std::memory_order_release);
  for (const MemoryPeer& peer : peers_) peer.bell->wakeAll();
}

LaneState MemoryLane::state() const {
  return {"memory", operations_.load(std::memory_order_relaxed),
          bytes_.load(std::memory_order_relaxed), waitingFor_.load(std::memory_order_relaxed)};
}

Status MemoryLane::rehomeExposed() {
  if (copies_ != nullptr) copies_->drain();
  // From the entry on, a peer that has met all may write; what it does elsewhere nobody needs to
  // know.
  bool moving = stage_ == Stage::kMeet || stage_ == Stage::kResolve || stage_ == Stage::kDirect ||
                stage_ == Stage::kLeave;
  if (!moving || !tuning_.direct || (eager_ && !mayBeDirect_)) return {};
  RegionTable& table = RegionTable::instance();
  FLEXLINK_TRY(table.rehome(call_.send));
  return table.rehome(call_.recv);
}

}  // namespace flexlink
