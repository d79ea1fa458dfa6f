// SPDX-License-Identifier: Apache-2.0
// How the bytes of a collective change hands, where there is a choice: with plain stores or past
// the caches, through the pool or by cross-memory attach. Times decide (schedule/way_chooser.h).
#include <sys/mman.h>

#include "base/clock.h"
#include "lane/memory/memory_lane.h"

namespace flexlink {
namespace {

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

constexpr int kPopulateRanks = 16;

// Of one piece: below, system calls cost more than they save.
constexpr size_t kAttachMinBytes = 32768;

// Of kind, size and protocol: what is fast for one says little of another.
uint32_t habitKey(Collective kind, bool eager, size_t bytes) {
  auto sizeClass = static_cast<uint32_t>(64 - __builtin_clzll(bytes | 1));
  return (static_cast<uint32_t>(kind) * 2 + (eager ? 1 : 0)) * 64 + sizeClass;
}

}  // namespace

// All ranks' pages of one part of their segments at once, before their first use: one by one they
// would fault for the first hundred operations. A kernel before 5.14 does not know how and lets
// them fault; so does this with very many ranks.
void MemoryLane::populate(bool* done, size_t at, size_t bytes) {
  if (*done) return;
  *done = true;
  (void)madvise(static_cast<uint8_t*>(mySegment().base()) + at, bytes, MADV_POPULATE_WRITE);
  if (ranks_ > kPopulateRanks) return;
  for (int peer = 0; peer < ranks_; ++peer) {
    if (peer == rank_) continue;
    void* base = peers_[static_cast<size_t>(peer)].segment.base();
    (void)madvise(static_cast<uint8_t*>(base) + at, bytes, MADV_POPULATE_READ);
  }
}

// All ranks come to the same answer: they read the same entries.
bool MemoryLane::attachedPossible() const {
  // The result of a Reduce has no place on ranks that are not the root.
  if (!tuning_.cma || shape_.shard < kAttachMinBytes || call_.kind == Collective::kReduce) {
    return false;
  }
  if (call_.kind != Collective::kAlltoAll) return true;
  for (int rank = 0; rank < ranks_; ++rank) {
    if (entryOf(rank).buffers.inPlaceWhole != 0) return false;
  }
  return true;
}

// Rank 0 chooses for all and says so in its entry: for this collective, or, where the payload
// comes with the entry, for the next of its kind and size.
void MemoryLane::chooseWay() {
  way_ = kWayPlain;
  habit_ = nullptr;
  if (ranks_ == 1 || copies_ != nullptr || (eager_ && shape_.payload <= kEntryPayload)) return;
  size_t bytes = eager_ ? shape_.payload : shape_.shard;
  if (!eager_ && rank_ != 0) return;
  auto [found, fresh] = habits_.try_emplace(habitKey(call_.kind, eager_, bytes));
  habit_ = &found->second;
  if (fresh) habit_->chooser = WayChooser(lastHome_);
  auto chosen = static_cast<uint32_t>(habit_->chooser.way());
  way_ = eager_ ? habit_->eagerWay : chosen;
  entryOf(rank_).buffers.way = chosen;
  workBegan_ = nowNanos();
}

// After the meeting.
void MemoryLane::takeWay() {
  uint32_t chosen = entryOf(0).buffers.way;
  if (!eager_) {
    way_ = chosen;
    if (attached() && !attachedPossible()) way_ = kWayPlain;
  } else if (habit_ != nullptr) {
    habit_->eagerWay = chosen;
  }
}

unsigned MemoryLane::possibleWays() const {
  unsigned possible = 1u << kWayPlain | 1u << kWayStreamed;
  return eager_ || !attachedPossible() ? possible : possible | 1u << kWayAttached;
}

// The time of this rank's own work; of the collectives with a root, where one rank's work is done
// long before another's, also the wait for the peers, who may be busy with the last one.
void MemoryLane::reportWay() {
  // Plain stores are at their pace when all of the memory that they go round was written by them.
  size_t round = eager_ ? kEagerRingBytes : layout_.poolBytes;
  size_t written = eager_ ? shape_.payload : shape_.shard * slotsPerChunk();
  auto warmUp = static_cast<uint32_t>(round / written + 1);
  habit_->chooser.report(static_cast<int>(way_), nowNanos() - workBegan_, possibleWays(), warmUp);
  int home = habit_->chooser.home();
  if (home != static_cast<int>(kWayAttached)) lastHome_ = home;
}

}  // namespace flexlink
