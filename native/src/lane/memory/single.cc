// SPDX-License-Identifier: Apache-2.0
// Calls that concern one peer: send, receive, put, signal. For each ordered pair of ranks there is
// a ring of cells in the sender's segment; a message is a run of cells, or one cell that says where
// the receiver finds the bytes.
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include <algorithm>

#include "device/host/kernels.h"
#include "lane/memory/memory_lane.h"

namespace flexlink {
namespace {

enum CellMode : uint32_t {
  kInCells,   // the bytes are in this and the following cells
  kAddress,   // same process: read them at the address
  kInRegion,  // exported memory: read them through a mapping
  kAttached,  // read them with process_vm_readv
};

// Below this a message in cells is faster than a round trip for the receiver's "taken".
constexpr size_t kReachBytes = 4096;

// What a call that is not done holds up: later calls with the same bit and peer, if it is ordered.
constexpr uint8_t kOrdered = 1 | 2 | 4;

uint8_t orderBit(Collective kind) {
  switch (kind) {
    case Collective::kSend:
      return 1;
    case Collective::kRecv:
      return 2;
    case Collective::kWaitSignal:
      return 8;  // holds up nothing: the signal that ends it may be answered by a later call
    default:
      return 4;
  }
}

uint64_t cellsFor(size_t bytes, size_t room) { return bytes == 0 ? 1 : (bytes + room - 1) / room; }

std::string describeSingle(const char* what, uint64_t count, uint64_t type) {
  return std::string(what) + " of " + std::to_string(count) + " " +
         typeName(static_cast<DataType>(type));
}

// Does this batch need more of the peer? What lies in its cells, and what only this rank's device
// has yet to do, is there.
bool needs(const Singles& singles, int peer) {
  if (!singles.lost.ok()) return false;
  for (size_t i = 0; i < singles.calls.size(); ++i) {
    const Call& call = singles.batch->single[i];
    const Single& single = singles.calls[i];
    if (call.root != peer || single.done) continue;
    const bool sent = single.begun && single.mode == kInCells && single.moved == bytesOf(call);
    const bool over = call.kind == Collective::kRecv         ? single.lastCell != 0
                      : call.kind == Collective::kSend       ? sent
                      : call.kind == Collective::kWaitSignal ? false
                                                             : single.begun;
    if (!over) return true;
  }
  return false;
}

}  // namespace

void MemoryLane::startSingles(const Batch& batch) {
  if (singlesAtHand_ == singles_.size()) singles_.push_back(std::make_unique<Singles>());
  Singles& singles = *singles_[singlesAtHand_++];
  singles.batch = &batch;
  singles.calls.assign(batch.single.size(), Single{});
  singles.lost = {};
  singles.since = shown_.begin(batch.single);
}

// Messages of one direction of a pair keep the order of the calls, and so do signals: what is not
// done blocks what comes behind it, also in later batches, and nothing else.
Progress MemoryLane::pollSingles() {
  std::fill(blockedPeers_.begin(), blockedPeers_.end(), uint8_t{0});
  bool moved = false;
  for (size_t i = 0; i < singlesAtHand_; ++i) {
    Progress progress = pollBatch(singles_[i].get(), i == 0);
    if (progress == Progress::kFailed) return progress;
    if (progress == Progress::kDone) return finishSingles(i);
    moved = moved || progress == Progress::kMoved;
  }
  return moved ? Progress::kMoved : Progress::kWaiting;
}

// first: of those at hand; it is the one that people see.
Progress MemoryLane::pollBatch(Singles* singles, bool first) {
  if (!singles->lost.ok()) return Progress::kDone;
  bool moved = false;
  bool all = true;
  for (size_t i = 0; i < singles->calls.size(); ++i) {
    Single& single = singles->calls[i];
    if (single.done) continue;
    const Call& call = singles->batch->single[i];
    uint8_t& blocked = blockedPeers_[static_cast<size_t>(call.root)];
    uint8_t bit = orderBit(call.kind);
    if (blocked & bit & kOrdered) {
      all = false;
      continue;
    }
    Progress progress = pollSingle(call, &single);
    if (progress == Progress::kFailed) return progress;
    if (progress != Progress::kWaiting) {
      ++moves_[wayOf(call)];
      seenEnd_[static_cast<size_t>(call.root)] = 0;  // there was more
      moved = true;
    }
    if (progress == Progress::kDone) {
      // Many may be under way at once; the probe hears of each when it is done.
      shown_.ended(call, singles->since);
      continue;
    }
    all = false;
    blocked |= bit;
    if (first && progress == Progress::kWaiting)
      waitingFor_.store(call.root, std::memory_order_relaxed);
  }
  return all ? Progress::kDone : moved ? Progress::kMoved : Progress::kWaiting;
}

Progress MemoryLane::pollSingle(const Call& call, Single* single) {
  Progress progress = call.kind == Collective::kSend   ? pollSend(call, single)
                      : call.kind == Collective::kRecv ? pollRecv(call, single)
                                                       : pollOneSided(call, single);
  if (progress != Progress::kDone) return progress;
  single->done = true;
  operations_.store(operations_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  bytes_.store(bytes_.load(std::memory_order_relaxed) + bytesOf(call), std::memory_order_relaxed);
  return progress;
}

Progress MemoryLane::finishSingles(size_t index) {
  const Batch& batch = *singles_[index]->batch;
  outcome_ = singles_[index]->lost;
  const auto over = singles_.begin() + static_cast<ptrdiff_t>(index);
  std::rotate(over, over + 1, singles_.begin() + static_cast<ptrdiff_t>(singlesAtHand_--));
  shown_.rest(batch.single);
  if (singlesAtHand_ != 0 || batch.collective.empty()) {
    if (singlesAtHand_ == 0) stage_ = Stage::kIdle;
    finished_ = &batch;
    return Progress::kDone;
  }
  startCollectives(batch);
  return Progress::kMoved;
}

// A message that is awaited may have come between the last poll and the peer's leaving: only a poll
// after that tells.
bool MemoryLane::missesMessages(int peer, bool closed) {
  const auto at = static_cast<size_t>(peer);
  if (!closed) return true;
  for (size_t i = 0; i < singlesAtHand_; ++i) {
    if (needs(*singles_[i], peer)) return polledSinceEnd(at);
  }
  return false;
}

// A receive that is alone in its batch ends by itself when its sender has left; true: nothing else
// is missed from there.
bool MemoryLane::loseReceives(int peer, const Status& why) {
  bool all = true;
  for (size_t i = 0; i < singlesAtHand_; ++i) {
    Singles& singles = *singles_[i];
    if (!needs(singles, peer)) continue;
    const bool alone = isLoneReceive(*singles.batch) && !singles.calls.front().begun;
    all = all && alone;
    if (!alone) continue;
    shown_.ended(singles.batch->single.front(), singles.since);
    singles.lost = why;
  }
  return all;
}

Progress MemoryLane::pollSend(const Call& call, Single* single) {
  auto peer = static_cast<size_t>(call.root);
  const MemoryPeer& who = peers_[peer];
  const Segment& own = mySegment();
  // Pairs with the receiver's tell() in pollRecv: cells below are free again.
  uint64_t taken = who.segment.pair(rank_).consumed.load(std::memory_order_acquire);
  size_t bytes = bytesOf(call);
  RegionRef region;
  if (!single->begun) {
    single->mode = kInCells;
    if (bytes >= kReachBytes) {
      if (tuning_.direct) region = RegionTable::instance().find(call.send, bytes);
      bool attach = tuning_.cma && who.process != nullptr && bytes >= tuning_.cmaBytes &&
                    who.segment.pair(rank_).attaches.load(std::memory_order_acquire) != 0;
      if (copies_ != nullptr) {  // the receiver's device may not reach them
        single->mode = kInCells;
      } else if (who.process == nullptr) {
        single->mode = kAddress;
      } else if (region.id != 0) {
        single->mode = kInRegion;
      } else if (attach) {
        single->mode = kAttached;
      }
    }
  } else if (single->mode != kInCells) {
    return taken > single->lastCell ? Progress::kDone : Progress::kWaiting;
  }
  uint64_t cells = single->mode == kInCells ? cellsFor(bytes, cellRoom()) : 1;
  bool moved = false;
  while (single->cell < cells && produced_[peer] - taken < kCells) {
    Cell& cell = own.cell(call.root, produced_[peer]);
    size_t part = single->mode == kInCells ? std::min(cellRoom(), bytes - single->moved) : 0;
    cell.header = {static_cast<uint64_t>(call.type),
                   countOf(call) * typeSize(call.type),
                   part,
                   reinterpret_cast<uint64_t>(call.send),
                   region.offset,
                   region.id,
                   single->mode};
    void* to = cellPayload(rank_, call.root, produced_[peer]);
    put(&to, 1, static_cast<const uint8_t*>(call.send) + single->moved, part, 0);
    single->moved += part;
    single->lastCell = produced_[peer]++;
    single->begun = true;
    ++single->cell;
    tell(own.pair(call.root).produced, produced_[peer], call.root);
    moved = true;
  }
  const bool through = single->cell == cells && single->mode == kInCells;
  if (through && told(own.pair(call.root).produced, single->lastCell + 1)) return Progress::kDone;
  return moved ? Progress::kMoved : Progress::kWaiting;
}

Progress MemoryLane::pollRecv(const Call& call, Single* single) {
  auto peer = static_cast<size_t>(call.root);
  const Segment& theirs = peers_[peer].segment;
  if (single->lastCell != 0) {  // all of it is on its way out of the cells
    const auto& taken = mySegment().pair(call.root).consumed;
    return told(taken, single->lastCell) ? Progress::kDone : Progress::kWaiting;
  }
  // Pairs with the sender's tell() in pollSend.
  uint64_t there = theirs.pair(rank_).produced.load(std::memory_order_acquire);
  if (there == consumed_[peer]) return Progress::kWaiting;
  Cell& cell = theirs.cell(rank_, consumed_[peer]);
  size_t bytes = bytesOf(call);
  if (!single->begun) {
    const uint64_t whole = countOf(call) * typeSize(call.type);
    if (cell.header.bytes != whole || cell.header.signature != static_cast<uint64_t>(call.type)) {
      auto type = static_cast<DataType>(cell.header.signature % kDataTypes);
      return fail(makeStatus(
          Code::kInvalidUsage,
          "a message does not match: rank %d called %s to rank %d, which called %s",
          peers_[peer].rank,
          describeSingle("Send", cell.header.bytes / typeSize(type),
                         cell.header.signature % kDataTypes)
              .c_str(),
          myRank(),
          describeSingle("Recv", countOf(call), static_cast<uint64_t>(call.type)).c_str()));
    }
    single->begun = true;
    single->mode = cell.header.mode;
  }
  Progress progress = takeCell(call, single, &cell);
  if (progress != Progress::kDone) return progress;
  if (single->mode != kInCells && gaveUp(call.root)) return Progress::kFailed;
  ++consumed_[peer];
  tell(mySegment().pair(call.root).consumed, consumed_[peer], call.root);
  const bool last = single->mode != kInCells || single->moved == bytes;
  if (!last) return Progress::kMoved;
  single->lastCell = consumed_[peer];
  return told(mySegment().pair(call.root).consumed, single->lastCell) ? Progress::kDone
                                                                      : Progress::kMoved;
}

// kDone: the cell is used up.
Progress MemoryLane::takeCell(const Call& call, Single* single, Cell* cell) {
  CellHeader header = cell->header;  // one reading: a mad peer may change it under us
  size_t bytes = bytesOf(call);
  auto* recv = static_cast<uint8_t*>(call.recv);
  if (single->mode == kInCells) {
    size_t part = std::min<size_t>({header.payloadBytes, cellRoom(), bytes - single->moved});
    void* to = recv + single->moved;
    put(&to, 1, cellPayload(call.root, rank_, consumed_[static_cast<size_t>(call.root)]), part, 0);
    single->moved += part;
    return Progress::kDone;
  }
  if (single->mode == kAttached) return takeAttached(call, single, header);
  const MemoryPeer& who = peers_[static_cast<size_t>(call.root)];
  const uint8_t* from = reinterpret_cast<const uint8_t*>(header.address);
  if (single->mode == kInRegion) {
    bool pending = false;
    void* base = who.process->mapped(header.region, &pending);
    if (base == nullptr && pending) return Progress::kWaiting;
    if (base == nullptr) {
      return fail(makeStatus(Code::kRemote, "rank %d cannot map the send buffer of %s", myRank(),
                             who.name.c_str()));
    }
    from = static_cast<const uint8_t*>(base) + header.offset;
  }
  size_t part = std::min(tuning_.directChunkBytes, bytes - single->moved);
  void* to = recv + single->moved;
  if (to != from + single->moved)
    copyTo(&to, 1, from + single->moved, part, bytes >= tuning_.streamBytes ? ~0u : 0u);
  single->moved += part;
  return single->moved == bytes ? Progress::kDone : Progress::kMoved;
}

Progress MemoryLane::takeAttached(const Call& call, Single* single, const CellHeader& header) {
  const MemoryPeer& who = peers_[static_cast<size_t>(call.root)];
  size_t bytes = bytesOf(call);
  size_t part = std::min(tuning_.directChunkBytes, bytes - single->moved);
  iovec local{static_cast<uint8_t*>(call.recv) + single->moved, part};
  iovec remote{reinterpret_cast<void*>(header.address + single->moved), part};
  ssize_t got = process_vm_readv(who.pid, &local, 1, &remote, 1, 0);
  if (got <= 0) {
    if (errno == ESRCH || who.process->dead()) return Progress::kWaiting;  // check() says it better
    return fail(makeStatus(Code::kSystem,
                           "rank %d cannot read %zu bytes of %s with process_vm_readv: %s; "
                           "FLEXLINK_CMA=0 goes without",
                           myRank(), part, who.name.c_str(), strerror(errno)));
  }
  single->moved += static_cast<size_t>(got);
  return single->moved == bytes ? Progress::kDone : Progress::kMoved;
}

Progress MemoryLane::pollOneSided(const Call& call, Single* single) {
  auto peer = static_cast<size_t>(call.root);
  const MemoryPeer& who = peers_[peer];
  size_t counter = peer * kSignals + call.signal;
  if (call.kind == Collective::kWaitSignal) {
    // Pairs with tell() below, in the peer: what was put before the signal is there.
    uint64_t sent = who.segment.pair(rank_).signals[call.signal].load(std::memory_order_acquire);
    if (sent - signalsTaken_[counter] < call.count) return Progress::kWaiting;
    signalsTaken_[counter] += call.count;
    return Progress::kDone;
  }
  if (call.kind == Collective::kPutSignal && call.count != 0) {
    auto* base = static_cast<uint8_t*>(call.target.address);
    if (who.process != nullptr && call.target.region.id != 0) {  // a GPU's is open already
      bool pending = false;
      base = static_cast<uint8_t*>(who.process->mapped(call.target.region.id, &pending));
      if (base == nullptr && pending) return Progress::kWaiting;
      if (base == nullptr) {
        return fail(makeStatus(Code::kRemote, "rank %d cannot map the window of %s", myRank(),
                               who.name.c_str()));
      }
      base += call.target.region.offset;
    }
    size_t bytes = bytesOf(call);
    size_t part = std::min(tuning_.directChunkBytes, bytes - single->moved);
    void* to = base + single->moved;
    put(&to, 1, static_cast<const uint8_t*>(call.send) + single->moved, part, 0);
    single->moved += part;
    if (single->moved < bytes) return Progress::kMoved;
  }
  auto& signal = mySegment().pair(call.root).signals[call.signal];
  if (!single->begun) tell(signal, ++signalsSent_[counter], call.root);
  single->begun = true;
  return told(signal, signalsSent_[counter]) ? Progress::kDone : Progress::kWaiting;
}

// Of the cell `number` from one rank to another.
uint8_t* MemoryLane::cellPayload(int owner, int to, uint64_t number) const {
  if (stagingOf(owner) != nullptr) return stagingOf(owner) + staging_.cellAt(to, number);
  return peers_[static_cast<size_t>(owner)].segment.cell(to, number).payload;
}

size_t MemoryLane::cellRoom() const {
  return stagingOf(rank_) != nullptr ? DeviceStaging::kCellPayload : kCellPayload;
}

// A counter of this rank's segment that `peer` waits for: what was copied before is there. Pairs
// with the peer's load (acquire).
void MemoryLane::tell(std::atomic<uint64_t>& counter, uint64_t value, int peer) {
  if (copies_ != nullptr) return copies_->publish(counter, value);
  counter.exchange(value, std::memory_order_seq_cst);
  ringPeer(peer);
}

// Has all been copied that was enqueued before this was?
bool MemoryLane::told(const std::atomic<uint64_t>& counter, uint64_t value) const {
  return copies_ == nullptr || counter.load(std::memory_order_acquire) >= value;
}

}  // namespace flexlink
