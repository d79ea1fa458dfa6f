// SPDX-License-Identifier: Apache-2.0
// The lane over several hosts of which at least one has several ranks: memory lanes inside the
// hosts and message lanes between them, seen as one lane. README.md says who carries what.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "lane/abort_note.h"
#include "lane/calls_shown.h"
#include "lane/hier/hier_plan.h"
#include "lane/memory/memory_lane.h"
#include "lane/message/message_lane.h"

namespace flexlink {

// The lanes of one rank below its hier lane.
struct HierLanes {
  std::unique_ptr<MemoryLane> memory;  // the ranks of this host
  std::unique_ptr<MessageLane> rail;   // the ranks of this rail, by host; null: on no rail
  std::unique_ptr<MessageLane> pairs;  // all ranks; reaches those on other hosts
};

class HierLane final : public Lane {
 public:
  static constexpr uint8_t kProbeLane = FLEXLINK_PROBE_LANE_HIER;

  // `probe` outlives the lane.
  HierLane(HostMap map, HierLanes lanes, ProbeComm* probe);

  bool overlaps() const override { return true; }
  void start(const Batch& batch) override;
  void startCollective(const Call& call) override;
  Progress poll() override;
  const Batch* finished() const override { return finished_; }
  const Status& outcome() const override { return outcome_; }
  uint64_t movesOf(const Call& message) const override;
  Status check() override;
  void abort(const Status& reason) override;
  void close() override;
  Status rehomeExposed() override { return lanes_.memory->rehomeExposed(); }
  void expose(void* address, size_t bytes) override { lanes_.pairs->expose(address, bytes); }
  void conceal(void* address) override { lanes_.pairs->conceal(address); }
  const Status& failure() const override { return failure_; }
  void probeFailure(const Status& status) override;
  LaneState state() const override;

 private:
  // A segment on its way.
  struct Active {
    HierPart part;
    size_t number = 0;
    bool between = false;  // rail and pairs were begun
    int running = 0;       // of these two
    std::vector<uint8_t> scratch;
  };
  // The single calls of one batch.
  struct Letters {
    const Batch* batch = nullptr;
    uint64_t since = 0;  // ticks of the probe
    HierSingles part;
    bool insideRuns = false;
    bool pairsRun = false;
    Status outcome;
  };
  // A lane below and what it is at.
  struct Worker {
    Lane* lane = nullptr;
    Active* at = nullptr;
    int letters = 0;  // batches of single calls
  };

  void startSingles(const Batch& batch);
  bool lettersOver(Worker* worker, const Batch* done);
  bool finishSingles();
  void startCollectives(const Batch& batch);
  void nextCall();
  void endCall();
  void makeActive();
  bool schedule();
  bool scheduleMemory();
  bool scheduleBetween();
  bool give(Worker* worker, const Batch& batch, Active* active);
  Progress pollWorker(Worker* worker);
  void finished(Worker* worker);
  Active* numbered(size_t number);
  Progress fail(const Status& status);
  int awaited() const;
  int nameOf(const Worker& worker, int awaited) const;
  uint64_t seqAtHand() const;

  const HostMap map_;
  const HierLanes lanes_;
  ProbeComm* const probe_;
  Worker memory_;
  Worker rail_;
  Worker pairs_;

  // What is at hand: the single calls of batches, in the order of their start, or the collectives
  // of one.
  std::vector<std::unique_ptr<Letters>> letters_;
  CallsShown shown_;
  const Batch* batch_ = nullptr;
  Batch lone_;  // of startCollective()
  size_t batchIndex_ = 0;
  bool idle_ = true;
  const Batch* finished_ = nullptr;  // as finished() says
  Status outcome_;                   // as outcome() says

  // The call at hand.
  Call call_;
  Whole whole_;
  size_t segments_ = 0;
  size_t segmentElements_ = 0;
  // All ranks of a host make their memory lane's calls in one order: before 0, before 1, ..., and
  // from the window's width on one `after` for each further `before`.
  size_t before_ = 0;   // segments whose `before` was given to the memory lane
  size_t ready_ = 0;    // and was done
  size_t between_ = 0;  // segments whose rail and pairs were begun
  size_t after_ = 0;    // segments whose `after` was given to the memory lane
  std::deque<std::unique_ptr<Active>> active_;
  std::vector<std::vector<uint8_t>> spare_;  // scratch memory

  Status failure_;
  AbortNote aborted_;
  bool probedFailure_ = false;
  std::atomic<uint64_t> operations_{0};  // relaxed, one writer: for people only
  std::atomic<uint64_t> bytes_{0};
  std::atomic<int> waitingFor_{-1};
};

}  // namespace flexlink
