// SPDX-License-Identifier: Apache-2.0
// Writes what this process does into its probe file (layout: flexlink/probe.h). The functions of
// ProbeComm are the hot path: no lock, no allocation, no system call; they cannot fail. Where there
// is no file they write to private memory, so that callers never ask whether the probe is on.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "flexlink/probe.h"
#include "probe/probe_values.h"
#include "probe/ticks.h"

namespace flexlink {

class ProbeWriter;

// One communicator in the probe. All functions except entered() and state(): one thread at a time,
// which is what the communicator's progress lock gives. Made by ProbeWriter::openComm.
class alignas(64) ProbeComm {
 public:
  ProbeComm(const ProbeComm&) = delete;
  ProbeComm& operator=(const ProbeComm&) = delete;

  // The clock of this probe.
  uint64_t ticks() const { return counter_ ? counterTicks() : static_cast<uint64_t>(nowNanos()); }

  // The program has called for operation seq (numbers grow from 0). Called where the call is
  // numbered, also while the operation cannot start yet: this is how a reader sees who came.
  void entered(uint64_t seq) { put(slot_->comm.entered, seq + 1); }

  // A lane takes up an operation; it carries one at a time, and end() belongs to the last begin().
  void begin(uint64_t seq, const ProbeSignature& call, uint8_t lane = 0);
  void phase(ProbePhase phase, uint8_t lane = 0) {
    put(laneOf(lane).phase, static_cast<uint64_t>(phase));
  }
  // Bytes since begin(), not since the last call.
  void progress(uint64_t bytesDone, uint8_t lane = 0) { put(laneOf(lane).bytesDone, bytesDone); }

  // The operation waits for peerRank. To be called again and again while it lasts: all but the
  // first call are one load. Worth a call when a wait leaves its spinning phase, not before.
  void waitsFor(int peerRank, uint8_t lane = 0);
  // That wait is over. Waiting for another rank and end() say so too.
  void waitsNoMore(uint8_t lane = 0);

  // result: an ncclResult_t.
  void end(uint64_t seq, uint8_t result, uint8_t lane = 0);

  // For calls that progress together, on one lane. One of them is shown, as by begin(), but it was
  // taken up at `since` (ticks).
  void show(uint64_t seq, const ProbeSignature& call, uint64_t since, uint8_t lane = 0);
  struct Among {
    uint64_t seq = 0;
    uint64_t since = 0;
    bool shown = true;  // the waits in the live state are its own
    bool whole = true;  // no other lane has a part of it
  };
  // For each when it is done, in any order; returns when, in ticks.
  uint64_t ended(const Among& which, const ProbeSignature& call, uint8_t result, uint8_t lane = 0);
  // For calls that were taken up and were done together; rest(): nothing is left beside them.
  void busy(uint64_t since, uint64_t until, uint8_t lane = 0) {
    add(laneOf(lane).busyTicks, until - since);
  }
  void rest(uint64_t now, uint8_t lane = 0);

  // The links to peers, numbered from 0 as the caller likes. To be told again and again while they
  // work, but only when linksDue() says so: about a hundred times a second, and never where nobody
  // can read it.
  bool linksDue();
  void link(uint32_t index, const ProbeLinkInfo& info);

  // Any thread, as entered().
  void state(ProbeState state) { put(slot_->comm.state, static_cast<uint64_t>(state)); }

 private:
  friend class ProbeWriter;
  struct Place {
    FlexlinkProbeSlot* slot;
    FlexlinkProbeRecord* ring;
    uint64_t mask;  // records in the ring - 1; 0 where there is no file
    int number;     // of the slot; -1: private memory
  };
  ProbeComm(ProbeWriter* writer, const Place& place, bool counter)
      : slot_(place.slot),
        ring_(place.ring),
        mask_(place.mask),
        counter_(counter),
        writer_(writer),
        slotNumber_(place.number) {}

  FlexlinkProbeLane& laneOf(uint8_t lane) { return slot_->lanes[lane % FLEXLINK_PROBE_LANES]; }
  void resetSlot(const ProbeCommInfo& info);
  static uint64_t word(const ProbeSignature& call, uint8_t lane) {
    return FLEXLINK_PROBE_CALL(call.collective, call.type, call.op, lane, call.root);
  }
  // What of a record is not in the lane's live state.
  struct Ended {
    uint64_t seq, call, count, bytes, start, ticks;
    uint8_t result;
    bool waited;  // the live state's longest wait is its own
    bool
        whole;  // on this lane alone; else it counts as an operation on the first lane that ends it
  };
  void record(const FlexlinkProbeLane& lane, const Ended& what);
  static void endWait(FlexlinkProbeLane& live, uint64_t now);
  void refreshClock(uint64_t now);  // once in a while: one clock_gettime
  int linkPlace(uint32_t index);

  // Partner of all of these: the acquire loads of a reader in another process or thread. Release on
  // every word, so that none is seen before the odd version that was stored ahead of it; on x86 it
  // costs nothing. Own words are read back relaxed: there is one writer.
  static void put(uint64_t& word, uint64_t value) {
    std::atomic_ref<uint64_t>(word).store(value, std::memory_order_release);
  }
  static uint64_t own(const uint64_t& word) {
    return std::atomic_ref<uint64_t>(const_cast<uint64_t&>(word)).load(std::memory_order_relaxed);
  }
  static void add(uint64_t& word, uint64_t more) { put(word, own(word) + more); }
  static void putText(char* to, size_t bytes, const char* text);  // whole words; cut, zeros behind

  // Nothing that steers the writer is ever read from the file: another process may scribble there.
  FlexlinkProbeSlot* const slot_;
  FlexlinkProbeRecord* const ring_;
  const uint64_t mask_;
  const bool counter_;  // ticks are counterTicks()
  uint64_t recordsWritten_ = 0;
  uint64_t nextSeq_ = 0;         // highest completed operation number + 1
  uint64_t clockAt_ = 0;         // ticks of this communicator's last refresh of the file's clock
  uint64_t linksAt_ = 0;         // ticks of the last linksDue() that said yes; 0: never
  uint32_t generation_ = 0;      // of the slot, low half
  std::vector<int> linkPlaces_;  // by index: place in the file's table; -1: none was left
  ProbeWriter* const writer_;
  const int slotNumber_;
};

// The probe of this process. All functions are cold and thread-safe.
class ProbeWriter {
 public:
  // Made on the first call (by the first communicator), never null and never destroyed. Where the
  // probe cannot be had, the log says once why, and what is written goes to private memory.
  static ProbeWriter* process();

  // A writer of its own with a file in `folder`; for tests. Outlives its communicators.
  static Result<std::unique_ptr<ProbeWriter>> create(const std::string& folder);

  ~ProbeWriter();

  // Never null. Closed by closeComm, which frees it; its last records stay readable in the file
  // until its slot is needed again.
  ProbeComm* openComm(const ProbeCommInfo& info);
  // One that nobody sees: for what is part of another communicator's operations.
  ProbeComm* openUnseen();
  void closeComm(ProbeComm* comm, ProbeState end = ProbeState::kClosed);

  // Of the file; "" when the probe is off.
  const std::string& path() const;

 private:
  friend class ProbeComm;
  struct Parts;
  int takeLinkPlace();
  explicit ProbeWriter(std::unique_ptr<Parts> parts);
  int takeSlot();
  void refreshClock();

  const std::unique_ptr<Parts> parts_;
};

inline bool ProbeComm::linksDue() {
  constexpr uint64_t kLinkTicks = uint64_t{1} << 24;  // 7 ms at 2.5 GHz
  if (slotNumber_ < 0) return false;
  const uint64_t now = ticks();
  if (linksAt_ != 0 && now - linksAt_ < kLinkTicks) return false;
  linksAt_ = now;
  return true;
}

inline void ProbeComm::begin(uint64_t seq, const ProbeSignature& call, uint8_t lane) {
  show(seq, call, ticks(), lane);
}

inline void ProbeComm::show(uint64_t seq, const ProbeSignature& call, uint64_t since,
                            uint8_t lane) {
  FlexlinkProbeLane& live = laneOf(lane);
  const uint64_t version = own(live.version) | 1;
  put(live.version, version);
  put(live.seq, seq);
  put(live.call, word(call, lane));
  put(live.count, call.count);
  put(live.bytes, call.bytes);
  put(live.bytesDone, 0);
  put(live.waitRanks, ~uint64_t{0});
  put(live.longestWait, 0);
  put(live.phase, FLEXLINK_PROBE_PHASE_STARTED);
  put(live.startTicks, since);
  put(live.version, version + 1);
}

// The caller holds the lane's version odd.
inline void ProbeComm::endWait(FlexlinkProbeLane& live, uint64_t now) {
  const uint64_t ranks = own(live.waitRanks);
  if (static_cast<uint32_t>(ranks) == FLEXLINK_PROBE_NO_RANK) return;
  const uint64_t wait = now - own(live.waitSince);
  const bool longest = wait > own(live.longestWait);
  if (longest) put(live.longestWait, wait);
  put(live.waitRanks, (longest ? ranks << 32 : ranks) | FLEXLINK_PROBE_NO_RANK);
  add(live.waitedTicks, wait);
}

inline void ProbeComm::waitsFor(int peerRank, uint8_t lane) {
  FlexlinkProbeLane& live = laneOf(lane);
  const auto rank = static_cast<uint32_t>(peerRank);
  if (static_cast<uint32_t>(own(live.waitRanks)) == rank) return;
  const uint64_t now = ticks();
  const uint64_t version = own(live.version) | 1;
  put(live.version, version);
  endWait(live, now);
  put(live.waitSince, now);
  put(live.waitRanks, (own(live.waitRanks) >> 32 << 32) | rank);
  put(live.version, version + 1);
}

inline void ProbeComm::waitsNoMore(uint8_t lane) {
  FlexlinkProbeLane& live = laneOf(lane);
  if (static_cast<uint32_t>(own(live.waitRanks)) == FLEXLINK_PROBE_NO_RANK) return;
  const uint64_t version = own(live.version) | 1;
  put(live.version, version);
  endWait(live, ticks());
  put(live.version, version + 1);
}

inline void ProbeComm::record(const FlexlinkProbeLane& lane, const Ended& what) {
  FlexlinkProbeRecord& out = ring_[recordsWritten_ & mask_];
  const uint64_t wait = what.waited ? own(lane.longestWait) >> 10 : 0;
  const uint64_t rank = what.waited ? own(lane.waitRanks) >> 32 : FLEXLINK_PROBE_RECORD_NO_RANK;
  put(out.version, 2 * recordsWritten_ + 1);
  put(out.seq, what.seq);
  put(out.call, what.call);
  put(out.count, what.count);
  put(out.bytes, what.bytes);
  put(out.startTicks, what.start);
  put(out.endTicks, what.ticks);
  put(out.outcome, uint64_t{what.result} | (rank & FLEXLINK_PROBE_RECORD_NO_RANK) << 8 |
                       (wait < UINT32_MAX ? wait : UINT32_MAX) << 32);
  put(out.version, 2 * recordsWritten_ + 2);
  put(slot_->comm.records, ++recordsWritten_);
  if (what.result != 0) add(slot_->comm.failures, 1);
  const bool first = what.seq >= nextSeq_;
  if (first) put(slot_->comm.completed, nextSeq_ = what.seq + 1);
  if (first || what.whole) add(slot_->comm.operations, 1);
  constexpr uint64_t kClockTicks = uint64_t{1} << 29;  // 0.2 s at 2.5 GHz
  if (what.ticks - clockAt_ > kClockTicks) [[unlikely]]
    refreshClock(what.ticks);
}

inline void ProbeComm::end(uint64_t seq, uint8_t result, uint8_t lane) {
  FlexlinkProbeLane& live = laneOf(lane);
  const uint64_t now = ticks();
  const uint64_t version = own(live.version) | 1;
  put(live.version, version);
  if (result == 0) put(live.bytesDone, own(live.bytes));  // of a failed one: as far as it came
  const uint64_t bytes = own(live.bytesDone);
  put(live.phase, FLEXLINK_PROBE_PHASE_IDLE);
  endWait(live, now);
  add(live.operations, 1);
  add(live.totalBytes, bytes);
  const uint64_t start = own(live.startTicks);
  add(live.busyTicks, now - start);
  put(live.version, version + 1);
  record(live, {seq, own(live.call), own(live.count), bytes, start, now, result, true, false});
}

inline uint64_t ProbeComm::ended(const Among& which, const ProbeSignature& call, uint8_t result,
                                 uint8_t lane) {
  FlexlinkProbeLane& live = laneOf(lane);
  const uint64_t bytes = result == 0 ? call.bytes : 0;
  add(live.operations, 1);
  add(live.totalBytes, bytes);
  const uint64_t now = ticks();
  record(live, {which.seq, word(call, lane), call.count, bytes, which.since, now, result,
                which.shown, which.whole});
  return now;
}

inline void ProbeComm::rest(uint64_t now, uint8_t lane) {
  FlexlinkProbeLane& live = laneOf(lane);
  const uint64_t version = own(live.version) | 1;
  put(live.version, version);
  put(live.phase, FLEXLINK_PROBE_PHASE_IDLE);
  endWait(live, now);
  put(live.version, version + 1);
}

}  // namespace flexlink
