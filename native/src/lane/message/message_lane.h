// SPDX-License-Identifier: Apache-2.0
// The lane between ranks that can only send each other messages: the steps of a schedule over
// bundles, segment by segment. README.md has the protocol.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "lane/abort_note.h"
#include "lane/calls_shown.h"
#include "lane/lane.h"
#include "lane/message/call_book.h"
#include "lane/message/message_peer.h"
#include "lane/message/one_sided.h"
#include "probe/probe_writer.h"
#include "schedule/steps.h"

namespace flexlink {

struct MessageTuning {
  size_t segmentBytes = 2 << 20;   // of each rank's piece; the bytes of one hand-over
  int window = 8;                  // segments under way at the same time: fewer starve the links
  size_t scratchBytes = 32 << 20;  // for contributions of all peers; bounds the two above
  std::optional<Pattern> pattern;  // of the collectives that have it; else the cheapest; for tests
};

class MessageLane final : public Lane {
 public:
  static constexpr uint8_t kProbeLane = FLEXLINK_PROBE_LANE_MESSAGE;

  // `peers` has one element for each rank, this one included. `comm` is equal on all ranks and on
  // no other communicator. `probe` outlives the lane.
  MessageLane(int rank, std::vector<MessagePeer> peers, uint64_t comm, MessageTuning tuning,
              ProbeComm* probe);
  ~MessageLane() override;

  bool overlaps() const override { return true; }
  void start(const Batch& batch) override;
  void startCollective(const Call& call) override;
  Progress poll() override;
  const Batch* finished() const override { return finishedBatch_; }
  const Status& outcome() const override { return outcome_; }
  uint64_t movesOf(const Call& message) const override;
  Status check() override;
  void abort(const Status& reason) override;
  void close() override;
  Status rehomeExposed() override { return {}; }  // forget() sees to it
  void expose(void* address, size_t bytes) override { oneSided_.expose(address, bytes); }
  void conceal(void* address) override { oneSided_.conceal(address); }
  const Status& failure() const override { return failure_; }
  void probeFailure(const Status& status) override;
  LaneState state() const override;

 private:
  // A part of every rank's piece on its way through the steps.
  struct Segment {
    std::vector<Step> steps;
    uint32_t number = 0;
    int phase = -1;              // steps of this phase were begun
    std::vector<Pending> gates;  // transfers by the phase that waits for them; 0: the end does
    bool isOpen(int next) const {
      return next == 0 || gates[static_cast<size_t>(next)].load(std::memory_order_acquire) == 0;
    }
    uint8_t* scratch = nullptr;
  };
  struct OwnCopy {  // what is left of it
    uint8_t* to;
    const uint8_t* from;
    size_t bytes;
  };
  // The single calls of one batch.
  struct Letters {
    const Batch* batch = nullptr;
    uint64_t since = 0;  // ticks of the probe
    Pending pending{0};
    std::deque<const Call*> awaitedSignals;  // WaitSignals
    std::vector<CallBook::Which> booked;
    Status lost;  // why its receive will never be answered
  };
  struct OwnEnd {  // of a message of this rank to itself
    const Call* call;
    Letters* letters;
  };
  // The last thing that a rank says to each peer: that it leaves (code 0), or why it has given up.
  struct Farewell {
    int32_t code = 0;
    uint32_t reserved = 0;
    uint64_t finished = 0;  // collectives
    char text[496] = {};
  };

  void startCollectives(const Batch& batch);
  void nextCollective();
  void beginCollective();
  Progress pollCollective();
  Progress pollSingles();
  void startSingles(const Batch& batch);
  void post(const Call& call, Letters* letters);
  void postToSelf(const Call& call, Letters* letters);
  Progress finishSingles(size_t index);
  bool launch();
  bool advance(Segment* segment);
  void run(Segment* segment, const Step& step);
  void fold(Segment* segment, const Step& step);
  bool copySome();
  uint8_t* at(const Segment& segment, Space space, int owner, size_t offset) const;
  void planSegments();
  void exchangeScalars();
  Message messageTo(int peer, uint32_t tag) const;
  Message messageFrom(int peer, uint32_t tag) const;
  void heard(const FrameHeader& header);
  void announce();
  int nameOf(int peer) const { return peers_[static_cast<size_t>(peer)].rank; }
  Status pollBundles(bool* moved);
  uint64_t seqAtHand() const {
    return stage_ == Stage::kSingle ? letters_.front()->batch->single.front().seq : call_.seq;
  }
  Status linksFailed(Bundle* bundle, const Status& links);
  Status outOfReach(size_t peer, const Status& links) const;
  Status farewells(bool moved);
  Status hearFarewell(size_t peer);
  void loseReceives(size_t peer);
  bool flushed() const;
  void awaitDelivery(int64_t deadline) const;
  void noteAwaited();
  Progress fail(Status status);
  void sayFarewell(const Status& reason);

  const int rank_;
  const int ranks_;
  const std::vector<MessagePeer> peers_;
  const uint64_t comm_;
  const MessageTuning tuning_;
  ProbeComm* const probe_;
  std::vector<Bundle*> bundles_;  // each once
  std::vector<uint64_t> moves_;   // of each of them

  const Batch* batch_ = nullptr;  // whose collectives are at hand
  const Batch* finishedBatch_ = nullptr;
  Status outcome_;  // as outcome() says
  Batch lone_;      // of startCollective()
  size_t batchIndex_ = 0;
  enum class Stage : uint8_t { kIdle, kSingle, kCollective } stage_ = Stage::kIdle;
  Call call_;
  ScheduleCall shape_;
  uint64_t seq_ = 0;  // collectives begun
  uint64_t finished_ = 0;
  size_t segmentBytes_ = 0;
  uint32_t segments_ = 0;
  uint32_t launched_ = 0;
  std::deque<std::unique_ptr<Segment>> active_;
  std::vector<std::unique_ptr<uint8_t[]>> scratch_;  // by place in the window
  std::vector<uint8_t*> freeScratch_;
  std::deque<OwnCopy> copies_;
  std::vector<const void*> sources_;
  std::vector<uint64_t> scalars_;  // kPreMulSum: by rank
  Pending scalarsPending_{0};

  std::vector<std::unique_ptr<Letters>> letters_;  // at hand, in the order of their start
  std::vector<std::unique_ptr<Letters>> spareLetters_;
  CallsShown shown_;
  OneSidedCalls oneSided_;
  std::vector<uint64_t> sent_;  // messages, by peer
  std::vector<uint64_t> received_;
  std::deque<OwnEnd> ownSends_;  // that have not met yet
  std::deque<OwnEnd> ownReceives_;

  CallBook book_;

  std::vector<Farewell> farewells_;  // by peer, filled by its bundle
  std::vector<std::unique_ptr<Pending>> farewellPending_;
  std::vector<bool> left_;       // peers that have left in an orderly way, and owe nothing
  std::vector<int> quietLooks_;  // since then, by peer: that have found nothing more of anybody
  Farewell mine_;

  Status failure_;
  AbortNote aborted_;
  std::mutex farewellMutex_;  // guards saidFarewell_; a leaf lock
  bool saidFarewell_ = false;
  bool probedFailure_ = false;
  std::atomic<uint64_t> operations_{0};  // relaxed, one writer: for people only
  std::atomic<uint64_t> bytes_{0};
  std::atomic<int> waitingFor_{-1};
};

}  // namespace flexlink
