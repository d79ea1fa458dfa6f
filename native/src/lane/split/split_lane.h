// SPDX-License-Identifier: Apache-2.0
// Several lanes between the same ranks, seen as one: every collective is cut, and each lane carries
// its slice at the same time as the others. README.md says by which weights.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lane/abort_note.h"
#include "lane/lane.h"
#include "lane/split/epoch_board.h"

namespace flexlink {

class SplitLane final : public Lane {
 public:
  // lanes[0] is the primary: it carries all until something else is agreed. The last one is ours:
  // it tells peers, and hears from them, why an operation failed. Messages take the first lane that
  // carries them.
  SplitLane(std::vector<std::unique_ptr<Lane>> lanes, std::shared_ptr<EpochBoard> board);

  Carries carries(const Call& call) const override;
  void start(const Batch& batch) override;
  void startCollective(const Call& call) override;
  Progress poll() override;
  const Status& outcome() const override { return outcome_; }
  Status check() override;
  void abort(const Status& reason) override;
  void close() override;
  Status rehomeExposed() override { return own().rehomeExposed(); }
  void expose(void* address, size_t bytes) override { own().expose(address, bytes); }
  void conceal(void* address) override { own().conceal(address); }
  const Status& failure() const override { return failure_; }
  void probeFailure(const Status& status) override;
  LaneState state() const override;

 private:
  struct Part {
    std::unique_ptr<Lane> lane;
    Batch batch;
    bool running = false;
    bool failed = false;
    double seconds = 0;  // from the start of the batch, of its last end
  };

  Lane& own() const { return *parts_.back().lane; }
  bool cutAll();
  bool cut(const Call& call);
  void begin();
  Progress pollPart(Part* part);
  void finish();
  Progress fail(const Status& status);
  void suspect(Part* part, const Status& status);
  bool judge();

  std::vector<Part> parts_;
  const std::shared_ptr<EpochBoard> board_;
  std::string name_;  // "vendor+memory"

  const Batch* batch_ = nullptr;            // null: idle
  Batch lone_;                              // of startCollective()
  size_t cut_ = 0;                          // collectives of the batch whose slices are known
  bool begun_ = false;                      // the lanes are at work
  std::deque<Whole> wholes_;                // of the collectives at hand; slices point at them
  int64_t startedAt_ = 0;                   // ns
  uint32_t epoch_ = 0;                      // of the collective that was cut last
  std::array<double, kMostLanes> bytes_{};  // of its slices

  Status outcome_;  // as outcome() says
  Status failure_;
  Status suspected_;         // how the first lane to fail has done so
  int64_t suspectedAt_ = 0;  // ns
  AbortNote aborted_;
};

}  // namespace flexlink
