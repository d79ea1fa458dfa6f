// SPDX-License-Identifier: Apache-2.0
// The lane between ranks whose memory is load/store addressable to each other: processes of one
// host and threads of one process. Small payloads travel with the entry (eager), exported or
// same-process buffers are read and written in place (direct), all others go through shared memory
// (staged). README.md has the protocol.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device/host/doorbell.h"
#include "device/host/exchange.h"
#include "lane/call_text.h"
#include "lane/calls_shown.h"
#include "lane/copy_stream.h"
#include "lane/lane.h"
#include "lane/memory/own_segment.h"
#include "lane/memory/segment.h"
#include "lane/memory/single.h"
#include "lane/memory/tuning.h"
#include "probe/probe_writer.h"
#include "schedule/chunked.h"
#include "schedule/way_chooser.h"

namespace flexlink {

struct MemoryPeer {
  Segment segment;
  std::shared_ptr<OwnSegment> own;         // holds `segment` of a thread of this process
  std::shared_ptr<ForeignRegion> mapping;  // holds `segment` of another process
  std::shared_ptr<PeerProcess> process;    // null: a thread of this process
  uint8_t* staging = nullptr;              // DeviceStaging; null, and so for all: in the segment
  Doorbell* bell = nullptr;
  int pid = 0;
  bool cma = false;  // this process may read that process's memory
  int rank = -1;     // in the user's communicator, for people
  std::string name;  // "rank 3 (pid 77 on host b)"
};

// How the bytes of a collective that is not direct change hands. Which is fastest depends on how
// far apart the cores are, which nobody tells and which changes: WayChooser.
inline constexpr uint32_t kWayPlain = 0;     // through the pool, or the eager ring
inline constexpr uint32_t kWayStreamed = 1;  // likewise, written past the caches
inline constexpr uint32_t kWayAttached = 2;  // peers read private memory

class MemoryLane final : public Lane {
 public:
  // `peers` has one element for each rank, this one included.
  // `probe` outlives the lane. `copies`: what moves the bytes of collectives, where
  // tuning.byDevice says so; null: this CPU.
  MemoryLane(int rank, std::vector<MemoryPeer> peers, SegmentLayout layout, MemoryTuning tuning,
             ProbeComm* probe, std::unique_ptr<CopyStream> copies = nullptr);

  bool overlaps() const override { return true; }
  void start(const Batch& batch) override;
  Progress poll() override;
  const Batch* finished() const override { return finished_; }
  const Status& outcome() const override { return outcome_; }
  uint64_t movesOf(const Call& message) const override { return moves_[wayOf(message)]; }
  Status check() override;
  void abort(const Status& reason) override;
  LaneState state() const override;

  void startCollective(const Call& call) override;

  const Status& failure() const override { return failure_; }

  void probeFailure(const Status& status) override;
  void close() override;

  // Peers reach regions by themselves.
  void expose(void*, size_t) override {}
  void conceal(void*) override {}

  Status rehomeExposed() override;  // RegionTable::rehome

 private:
  enum class Stage : uint8_t {
    kIdle,
    kSingle,
    kEnter,
    kMeet,
    kResolve,
    kDirect,
    kAttached,
    kLeave,
    kStaged
  };
  enum class WaitFor : uint8_t { kNone, kRoot, kAll };
  // How a collective's buffers are cut, in bytes.
  struct Shape {
    size_t element = 1;
    size_t block = 0;       // count * element
    size_t stride = 0;      // from one block to the next
    size_t total = 0;       // of the larger buffer; where there are blocks: of all of them
    size_t payload = 0;     // what this collective's entry carries when it is eager
    size_t shard = 0;       // longest piece that one rank owns or moves in the staged way
    bool personal = false;  // every peer gets a different piece
    bool blocks = false;    // `send` holds a block for each rank
    bool folds = false;
    bool oneShot = false;  // every rank folds all of it: one hand-over less
  };
  struct Habit {                    // of collectives of one kind and size
    WayChooser chooser;             // rank 0's
    uint32_t eagerWay = kWayPlain;  // what rank 0 said last
  };

  // memory_lane.cc
  void startCollectives(const Batch& batch);
  void beginCollective();
  void nextCollective();
  Progress finishCollective();
  bool scalarCame();
  void publishEntry();
  Progress meet();
  Progress afterMeeting();
  bool peersReached(WaitFor whom, uint64_t clock);
  void publishClock(uint64_t clock);
  void ringPeers();
  Progress fail(Status status);
  bool gaveUp(int peer);
  bool anybodyGaveUp();
  Status mismatch(int peer) const;
  bool satisfied(int peer) const;
  bool missesMessages(int peer, bool closed);
  bool loseReceives(int peer, const Status& why);
  bool polledSinceEnd(size_t peer);
  bool endsCall(int peer);
  Status deadOrGone(int peer);
  Status boardStatus(int rank) const;
  Entry& entryOf(int peer) const {
    return peers_[static_cast<size_t>(peer)].segment.header().entries[seq_ & 1];
  }
  uint8_t* stagingOf(int peer) const { return peers_[static_cast<size_t>(peer)].staging; }
  const Segment& mySegment() const { return peers_[static_cast<size_t>(rank_)].segment; }
  bool isRoot() const { return call_.root == rank_; }
  size_t blockAt(int rank) const { return static_cast<size_t>(rank) * shape_.stride; }
  // From the beginning of the first block to the end of the last.
  size_t span() const { return blockAt(ranks_ - 1) + shape_.block; }
  uint64_t seqAtHand() const;
  int myRank() const { return peers_[static_cast<size_t>(rank_)].rank; }

  // eager.cc
  const uint8_t* eagerPayload(int peer) const;
  const uint8_t* eagerSource(int from) const;
  void writeEager(Entry* entry);
  void writeBlocks(uint8_t* to);
  uint8_t* ownResult() const;
  void consumeEager();
  void copyEager(uint8_t* to, int from);
  void foldInto(void* const* dsts, int nDsts, size_t bytes, uint32_t streamMask);

  // staged.cc
  void planStaged();
  Progress pollStaged();
  WaitFor stagedWaitsFor(int stage) const;
  Progress endStaged();
  void runStep(const ChunkedSchedule::Step& step);
  void put(void* const* dsts, int nDsts, const void* from, size_t bytes, uint32_t streamMask);
  void stageIn(int64_t chunk);
  void stageFold(int64_t chunk);
  void stageOut(int64_t chunk);
  ByteRange pieceOf(int rank) const;
  size_t slotsPerChunk() const;
  uint8_t* inSlot(int owner, int64_t chunk, int forRank) const;
  uint8_t* outSlot(int owner, int64_t chunk) const;
  // A result that replaces what was read a moment ago finds its lines in the cache: it is streamed
  // only where the operation as a whole is too large for that.
  uint32_t resultMask() const {
    size_t least = tuning_.streamBytes * (call_.send == call_.recv ? 2 : 1);
    return shape_.total >= least ? ~0u : 0u;
  }
  uint32_t sharedMask() const { return way_ == kWayStreamed ? ~0u : 0u; }
  bool attached() const { return way_ == kWayAttached; }

  // direct.cc
  void writeBuffers(EntryBuffers* out);
  bool leavesOutPayload(int rank) const;
  bool payloadsCame() const;
  bool reachable(int rank) const;
  bool directPossible() const;
  Progress resolve();
  void planDirect();
  Progress pollDirect();
  void directFold(ByteRange range);
  void directCopy(size_t index);
  void* translate(int peer, bool recvSide, bool* pending);

  // ways.cc
  bool attachedPossible() const;
  void populate(bool* done, size_t at, size_t bytes);
  void chooseWay();
  void takeWay();
  unsigned possibleWays() const;
  bool timed() const { return rank_ == 0 && habit_ != nullptr; }
  void reportWay();

  // attached.cc
  Progress pollAttached();
  bool pull(int peer, bool recvSide, ByteRange range, void* to);
  bool pullFold(ByteRange part);
  bool pullResults(ByteRange part);
  bool pullBlocks(ByteRange part);
  void copyOwn(void* to, const void* from, size_t bytes);

  // single.cc
  void startSingles(const Batch& batch);
  Progress pollSingles();
  Progress pollBatch(Singles* singles, bool first);
  Progress pollSingle(const Call& call, Single* single);
  Progress finishSingles(size_t index);
  Progress pollSend(const Call& call, Single* single);
  Progress pollRecv(const Call& call, Single* single);
  Progress takeCell(const Call& call, Single* single, Cell* cell);
  Progress takeAttached(const Call& call, Single* single, const CellHeader& header);
  Progress pollOneSided(const Call& call, Single* single);
  uint8_t* cellPayload(int owner, int to, uint64_t number) const;
  size_t cellRoom() const;
  void ringPeer(int peer);
  void tell(std::atomic<uint64_t>& counter, uint64_t value, int peer);
  bool told(const std::atomic<uint64_t>& counter, uint64_t value) const;

  const int rank_;
  const int ranks_;
  const std::vector<MemoryPeer> peers_;
  const SegmentLayout layout_;
  const DeviceStaging staging_;  // where peers have it
  const MemoryTuning tuning_;
  const std::unique_ptr<CopyStream> copies_;  // null: this CPU copies and adds
  bool oneProcess_ = true;                    // all ranks are threads of this process
  ProbeComm* const probe_;
  bool probedFailure_ = false;

  Stage stage_ = Stage::kIdle;
  Status failure_;
  std::atomic<bool> aborted_{false};  // release in abort(), acquire in poll()
  std::atomic<bool> boardTaken_{false};
  std::atomic<int> waitingFor_{-1};      // relaxed: for people only
  std::atomic<uint64_t> operations_{0};  // relaxed, one writer: for people only
  std::atomic<uint64_t> bytes_{0};

  // What is at hand: the single calls of batches, in the order of their start, or the collectives
  // of one.
  std::vector<std::unique_ptr<Singles>> singles_;
  size_t singlesAtHand_ = 0;  // of these; the others are spare
  CallsShown shown_;
  const Batch* batch_ = nullptr;
  size_t batchIndex_ = 0;
  const Batch* finished_ = nullptr;  // as finished() says
  Status outcome_;                   // as outcome() says
  std::vector<uint8_t> blockedPeers_;
  std::vector<uint64_t> moves_;  // by wayOf()
  // Peers that had left or given up while something of theirs was missing: at which poll that was
  // seen.
  std::vector<uint64_t> seenEnd_;
  uint64_t polls_ = 1;

  // The collective at hand.
  Call call_;
  Shape shape_;
  bool eager_ = false;
  bool scalarAsked_ = false;  // of the device
  bool mayBeDirect_ = false;  // although the payload could come with the entry
  uint64_t seq_ = 0;          // collectives done
  uint64_t clockBase_ = 0;    // clock when this collective began; the same on all ranks
  int meetNext_ = 0;
  ChunkedSchedule schedule_;
  size_t chunkBytes_ = 0;
  uint64_t stepIndex_ = 0;
  bool usedDirect_ = false;
  std::vector<void*> sendOf_;  // by rank, in this address space
  std::vector<void*> recvOf_;
  size_t directIndex_ = 0;
  uint64_t leaveClock_ = 1;  // steps after clockBase_ at which all have left
  int attachedPhase_ = 0;
  uint32_t way_ = kWayPlain;          // of the collective at hand
  int64_t workBegan_ = 0;             // ns, moved on by the time of waiting for late peers
  int64_t entered_ = 0;               // ns
  std::map<uint32_t, Habit> habits_;  // by kind and size
  int lastHome_ = 0;                  // what was best for another kind or size is tried first
  Habit* habit_ = nullptr;            // of the collective at hand, where there is a choice
  size_t eagerAt_ = 0;                // next free byte of all eager rings
  bool ringReady_ = false;            // populated
  bool poolReady_ = false;
  size_t poolAt_ = 0;      // next free byte of all pools
  size_t firstChunk_ = 0;  // number of chunk 0, counted in chunks round the pool
  std::vector<const void*> sources_;
  std::vector<uint64_t> scalars_;

  // Point to point, by peer: cells sent and taken; signals consumed.
  std::vector<uint64_t> produced_;
  std::vector<uint64_t> consumed_;
  std::vector<uint64_t> signalsSent_;
  std::vector<uint64_t> signalsTaken_;
};

}  // namespace flexlink
