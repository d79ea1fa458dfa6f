// SPDX-License-Identifier: Apache-2.0
#include "lane/vendor/vendor_lane.h"

#include "engine/fd_bell.h"
#include "lane/call_text.h"

namespace flexlink {

VendorLane::VendorLane(std::unique_ptr<VendorComm> comm, int rank, int ranks, ProbeComm* probe)
    : comm_(std::move(comm)),
      calls_(comm_->api(), rank, ranks),
      probe_(probe),
      shown_(probe, kProbeLane) {}

// Windows are ours, not the vendor's: puts into them go another way.
Carries VendorLane::carries(const Call& call) const {
  if (isCollective(call.kind)) {
    return folds(call.kind) && isBitwise(call.op) ? Carries::kNot : Carries::kSlices;
  }
  return isMessage(call.kind) ? Carries::kWhole : Carries::kNot;
}

void VendorLane::startCollective(const Call& call) {
  Batch batch;
  batch.collective.push_back(call);
  start(batch);
}

void VendorLane::start(const Batch& batch) {
  batch_ = batch;
  running_ = true;
  enqueued_ = false;
  since_ = shown_.begin(first());
  Status status = comm_->group([&](ncclComm_t comm, cudaStream_t stream) -> Status {
    auto enqueue = [&](const Call& call) {
      ncclResult_t result = calls_.make(call, {comm, stream});
      return comm_->said(calls_.last(), result);
    };
    for (const Call& call : batch_.single) FLEXLINK_TRY(enqueue(call));
    for (const Call& call : batch_.collective) FLEXLINK_TRY(enqueue(call));
    return {};
  });
  if (!status.ok()) (void)fail(status);
}

// The vendor rings nobody's doorbell.
Progress VendorLane::poll() {
  if (aborted_.ends(&failure_) || !failure_.ok()) return Progress::kFailed;
  if (!running_) return Progress::kDone;
  Status status = enqueued_ ? comm_->done() : comm_->ready();
  if (status.code() == Code::kInProgress) {
    nobodyRings = true;
    return Progress::kWaiting;
  }
  if (!status.ok()) return fail(status);
  if (!enqueued_) {
    enqueued_ = true;
    return Progress::kMoved;
  }
  finish();
  return Progress::kDone;
}

void VendorLane::finish() {
  running_ = false;
  calls_.done();
  size_t bytes = shown_.endEach(batch_.single, since_, true);
  bytes += shown_.endEach(batch_.collective, since_, false);
  shown_.rest(first());
  operations_.fetch_add(batch_.single.size() + batch_.collective.size(), std::memory_order_relaxed);
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
}

Status VendorLane::check() {
  if (!failure_.ok()) return failure_;
  Status status = comm_->ready();
  if (!status.ok() && status.code() != Code::kInProgress) (void)fail(status);
  return failure_;
}

Progress VendorLane::fail(const Status& status) {
  if (failure_.ok()) failure_ = status;
  comm_->abort();
  return Progress::kFailed;
}

void VendorLane::abort(const Status& reason) {
  aborted_.keep(reason);
  aborted_.show();
  comm_->abort();
}

void VendorLane::probeFailure(const Status& status) {
  if (!running_ || probedFailure_) return;
  probedFailure_ = true;
  probe_->end(first().front().seq, static_cast<uint8_t>(status.code()), kProbeLane);
}

LaneState VendorLane::state() const {
  return {"vendor", operations_.load(std::memory_order_relaxed),
          bytes_.load(std::memory_order_relaxed), -1};
}

}  // namespace flexlink
