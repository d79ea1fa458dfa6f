// SPDX-License-Identifier: Apache-2.0
// A lane of host memory for buffers of a GPU: slice by slice they are copied to pinned memory, the
// lane below carries that, and what it brings is copied back. README.md says for whom.
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "lane/abort_note.h"
#include "lane/calls_shown.h"
#include "lane/image/image_memory.h"
#include "lane/image/image_messages.h"
#include "lane/image/image_plan.h"
#include "lane/lane.h"

namespace flexlink {

class ImageLane final : public Lane {
 public:
  struct Rank {
    int rank;
    int ranks;
  };

  // `below` overlaps batches of messages. `probe` outlives the lane and shows its calls as those of
  // `probeLane`; the lane below shows its own elsewhere.
  ImageLane(Rank me, std::unique_ptr<ImageMemory> memory, std::unique_ptr<Lane> below,
            ProbeComm* probe, uint8_t probeLane);
  ~ImageLane() override;

  Carries carries(const Call& call) const override;
  bool overlaps() const override { return true; }
  void start(const Batch& batch) override;
  void startCollective(const Call& call) override;
  Progress poll() override;
  const Batch* finished() const override { return finished_; }
  const Status& outcome() const override { return outcome_; }
  uint64_t movesOf(const Call& message) const override;
  Status check() override;
  void abort(const Status& reason) override;
  void close() override { below_->close(); }
  const Status& failure() const override { return failure_; }
  void probeFailure(const Status& status) override;
  Status rehomeExposed() override;
  // A put needs the memory itself.
  void expose(void*, size_t) override {}
  void conceal(void*) override {}
  LaneState state() const override;

 private:
  struct Slot {
    ImageSlice slice;
    uint64_t mark = 0;  // of the copies under way
  };

  void startCollectives(const Batch& batch);
  void nextCall();
  void endCall();
  void comes();
  bool hand();
  void goes();
  bool carried(const Batch* part);
  bool pollCollective();
  bool finishMessages();
  uint64_t seqAtHand() const {
    return messages_.empty() ? call_.seq : messages_.oldest().single.front().seq;
  }
  Progress fail(const Status& status);

  const Rank me_;
  const std::unique_ptr<ImageMemory> memory_;
  const std::unique_ptr<Lane> below_;
  ProbeComm* const probe_;
  const uint8_t probeLane_;

  // What is at hand: messages of batches, or the collectives of one.
  ImageMessages messages_;
  CallsShown shown_;
  const Batch* batch_ = nullptr;
  Batch lone_;  // of startCollective()
  size_t batchIndex_ = 0;
  bool idle_ = true;
  const Batch* finished_ = nullptr;  // as finished() says
  Status outcome_;                   // as outcome() says

  // The collective at hand, by slices: each comes, is handed to the lane below, and goes.
  Call call_;
  Whole whole_;
  size_t elements_ = 0;  // of each block in one slice
  size_t slices_ = 0;
  size_t coming_ = 0;  // slices whose copies to the image were enqueued
  size_t handed_ = 0;
  size_t going_ = 0;  // whose copies back were
  size_t gone_ = 0;
  std::array<Slot, ImageMemory::kSlots> slots_;

  Status failure_;
  AbortNote aborted_;
  bool probedFailure_ = false;
  std::atomic<uint64_t> operations_{0};  // relaxed, one writer: for people only
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace flexlink
