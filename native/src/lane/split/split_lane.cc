// SPDX-License-Identifier: Apache-2.0
#include "lane/split/split_lane.h"

#include <algorithm>

#include "base/clock.h"
#include "engine/fd_bell.h"
#include "lane/call_text.h"

namespace flexlink {
namespace {

// How long the cause of a failure may take to arrive over our own lane, or an operation to end in
// spite of it.
constexpr int64_t kCauseNanos = 200'000'000;

}  // namespace

SplitLane::SplitLane(std::vector<std::unique_ptr<Lane>> lanes, std::shared_ptr<EpochBoard> board)
    : board_(std::move(board)) {
  for (auto& lane : lanes) {
    name_ += std::string(name_.empty() ? "" : "+") + lane->state().name;
    parts_.emplace_back().lane = std::move(lane);
  }
}

Carries SplitLane::carries(const Call& call) const { return own().carries(call); }

void SplitLane::startCollective(const Call& call) {
  lone_.collective.assign(1, call);
  start(lone_);
}

void SplitLane::start(const Batch& batch) {
  batch_ = &batch;
  outcome_ = {};
  cut_ = 0;
  begun_ = false;
  wholes_.clear();
  for (Part& part : parts_) part.batch = {};
  for (const Call& call : batch.single) {
    auto able = std::find_if(parts_.begin(), parts_.end(), [&](const Part& part) {
      return part.lane->carries(call) != Carries::kNot;
    });
    able->batch.single.push_back(call);
  }
  startedAt_ = nowNanos();
  if (cutAll()) begin();
}

// False: for one of them the ranks are about to agree; what follows waits.
bool SplitLane::cutAll() {
  for (; cut_ < batch_->collective.size(); ++cut_) {
    if (!cut(batch_->collective[cut_])) return false;
  }
  return true;
}

// All ranks come to the same slices: they hold the same weights, and what a lane carries depends on
// nothing that may differ between ranks.
bool SplitLane::cut(const Call& call) {
  bytes_ = {};
  bool able = std::all_of(parts_.begin(), parts_.end(), [&](const Part& part) {
    return part.lane->carries(call) == Carries::kSlices;
  });
  if (!able) {
    parts_.back().batch.collective.push_back(call);
    return true;
  }
  std::optional<Split> slices = cutNext(board_.get(), call, &epoch_);
  if (!slices) return false;
  wholes_.push_back({packSignature(call), call.count});
  for (const Slice& slice : *slices) {
    const size_t element = typeSize(call.type);
    const auto lane = static_cast<size_t>(slice.lane);
    bytes_[lane] = static_cast<double>(slice.length);
    parts_[lane].batch.collective.push_back(
        sliceOf(call, slice.offset / element, slice.length / element, &wholes_.back()));
  }
  return true;
}

void SplitLane::begin() {
  begun_ = true;
  for (Part& part : parts_) {
    part.running = !part.batch.single.empty() || !part.batch.collective.empty();
    part.seconds = 0;
    if (part.running) part.lane->start(part.batch);
  }
}

// Lanes that have nothing of this batch are polled too: links move also what earlier calls have
// under way.
Progress SplitLane::pollPart(Part* part) {
  Progress progress = part->lane->poll();
  if (progress != Progress::kDone) return progress;
  if (!part->running) return Progress::kWaiting;
  part->running = false;
  if (outcome_.ok()) outcome_ = part->lane->outcome();
  part->seconds = static_cast<double>(nowNanos() - startedAt_) / 1e9;
  return Progress::kMoved;
}

Progress SplitLane::poll() {
  if (aborted_.ends(&failure_)) return Progress::kFailed;
  bool moved = false;
  for (Part& part : parts_) {
    if (part.failed) continue;
    Progress progress = pollPart(&part);
    if (progress == Progress::kFailed) suspect(&part, part.lane->failure());
    moved = moved || progress == Progress::kMoved;
  }
  if (judge()) return Progress::kFailed;
  if (batch_ == nullptr) return Progress::kDone;
  if (!begun_) {
    if (!cutAll()) return moved ? Progress::kMoved : Progress::kWaiting;
    begin();
    return Progress::kMoved;
  }
  bool running = std::any_of(parts_.begin(), parts_.end(), [](const Part& p) { return p.running; });
  if (running) return moved ? Progress::kMoved : Progress::kWaiting;
  finish();
  return Progress::kDone;
}

// Of batches of one collective is known what each lane took.
void SplitLane::finish() {
  bool lone = batch_->single.empty() && batch_->collective.size() == 1;
  const Batch& batch = *batch_;
  batch_ = nullptr;
  if (!lone || bytes_ == decltype(bytes_){}) return;
  const Call& call = batch.collective.front();
  std::array<double, kMostLanes> seconds{};
  for (size_t lane = 0; lane < parts_.size(); ++lane) seconds[lane] = parts_[lane].seconds;
  tellMeasured(board_.get(), operationClass(call.kind, bytesOf(call)), epoch_,
               {bytes_.data(), parts_.size()}, {seconds.data(), parts_.size()});
}

// ---- Failure.

Status SplitLane::check() {
  if (!failure_.ok()) return failure_;
  for (Part& part : parts_) {
    Status status = part.failed ? Status() : part.lane->check();
    if (!status.ok()) suspect(&part, status);
  }
  if (judge() || batch_ == nullptr || begun_) return failure_;
  std::lock_guard<std::mutex> lock(board_->mutex);
  return board_->broken;
}

void SplitLane::suspect(Part* part, const Status& status) {
  part->failed = true;
  if (!suspected_.ok()) return;
  suspected_ = status;
  suspectedAt_ = nowNanos();
}

// True: it is over. Another lane's word for a failure is "the peer is gone"; why, ours hears from
// the peer itself, soon. And who was through with the operation may have left or given up since:
// then the lanes that have no part in it fail, and it ends well all the same.
bool SplitLane::judge() {
  if (suspected_.ok()) return false;
  const Part& own = parts_.back();
  bool harmed = batch_ == nullptr || !begun_ ||
                std::any_of(parts_.begin(), parts_.end(),
                            [](const Part& part) { return part.running && part.failed; });
  bool local = suspected_.code() != Code::kRemote && suspected_.code() != Code::kInvalidUsage;
  bool known = own.failed || local;
  if (!(harmed && known) && nowNanos() - suspectedAt_ < kCauseNanos) {
    nobodyRings = true;
    return false;
  }
  Status cause = own.failed ? own.lane->check() : suspected_;
  (void)fail(cause.ok() ? suspected_ : cause);
  return true;
}

Progress SplitLane::fail(const Status& status) {
  if (failure_.ok()) failure_ = status;
  abort(failure_);
  return Progress::kFailed;
}

void SplitLane::abort(const Status& reason) {
  aborted_.keep(reason);
  // Ours first: it tells peers the reason before they miss anything.
  for (auto part = parts_.rbegin(); part != parts_.rend(); ++part) part->lane->abort(reason);
  aborted_.show();
}

void SplitLane::close() {
  for (Part& part : parts_) part.lane->close();
}

void SplitLane::probeFailure(const Status& status) {
  for (Part& part : parts_) part.lane->probeFailure(status);
}

LaneState SplitLane::state() const {
  LaneState state = own().state();
  state.name = name_.c_str();
  for (size_t i = 0; i + 1 < parts_.size(); ++i) {
    LaneState other = parts_[i].lane->state();
    state.operations = std::max(state.operations, other.operations);
    state.bytes += other.bytes;
    if (state.waitingFor < 0) state.waitingFor = other.waitingFor;
  }
  return state;
}

}  // namespace flexlink
