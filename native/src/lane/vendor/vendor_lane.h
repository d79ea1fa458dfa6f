// SPDX-License-Identifier: Apache-2.0
// The vendor's library as a lane: it stays whole behind its own API. See README.md.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "lane/abort_note.h"
#include "lane/calls_shown.h"
#include "lane/lane.h"
#include "lane/vendor/vendor_calls.h"
#include "lane/vendor/vendor_comm.h"
#include "probe/probe_writer.h"

namespace flexlink {

class VendorLane final : public Lane {
 public:
  static constexpr uint8_t kProbeLane = FLEXLINK_PROBE_LANE_VENDOR;

  // `comm` is ready. `probe` outlives the lane.
  VendorLane(std::unique_ptr<VendorComm> comm, int rank, int ranks, ProbeComm* probe);

  Carries carries(const Call& call) const override;
  void start(const Batch& batch) override;
  void startCollective(const Call& call) override;
  Progress poll() override;
  Status check() override;
  void abort(const Status& reason) override;
  void close() override {}
  Status rehomeExposed() override { return {}; }
  void expose(void*, size_t) override {}
  void conceal(void*) override {}
  const Status& outcome() const override { return failure_; }  // there is no other
  const Status& failure() const override { return failure_; }
  void probeFailure(const Status& status) override;
  LaneState state() const override;

 private:
  Progress fail(const Status& status);
  // What the probe shows of the batch.
  const std::vector<Call>& first() const {
    return batch_.single.empty() ? batch_.collective : batch_.single;
  }
  void finish();

  const std::unique_ptr<VendorComm> comm_;
  VendorCalls calls_;
  ProbeComm* const probe_;
  CallsShown shown_;
  uint64_t since_ = 0;  // ticks of the probe
  Batch batch_;         // what is under way
  bool running_ = false;
  bool enqueued_ = false;  // all of it is on the stream

  Status failure_;
  bool probedFailure_ = false;
  AbortNote aborted_;
  std::atomic<uint64_t> operations_{0};  // relaxed, one writer: for people only
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace flexlink
