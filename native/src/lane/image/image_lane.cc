// SPDX-License-Identifier: Apache-2.0
#include "lane/image/image_lane.h"

#include <algorithm>

#include "lane/call_text.h"

namespace flexlink {

ImageLane::ImageLane(Rank me, std::unique_ptr<ImageMemory> memory, std::unique_ptr<Lane> below,
                     ProbeComm* probe, uint8_t probeLane)
    : me_(me),
      memory_(std::move(memory)),
      below_(std::move(below)),
      probe_(probe),
      probeLane_(probeLane),
      messages_(me.ranks, memory_.get(), below_.get()),
      shown_(probe, probeLane) {}

// The lane below, which uses the images, ends before them.
ImageLane::~ImageLane() = default;

Carries ImageLane::carries(const Call& call) const {
  return isCollective(call.kind) || isMessage(call.kind) ? below_->carries(call) : Carries::kNot;
}

void ImageLane::start(const Batch& batch) {
  outcome_ = {};
  idle_ = false;
  if (batch.single.empty()) return startCollectives(batch);
  messages_.start(batch, shown_.begin(batch.single));
}

void ImageLane::startCollective(const Call& call) {
  lone_.collective.assign(1, call);
  start(lone_);
}

// True: those of a batch are through.
bool ImageLane::finishMessages() {
  const std::optional<ImageMessages::Sheet> sheet = messages_.finished();
  if (!sheet) return false;
  const Batch& batch = *sheet->batch;
  const size_t bytes = shown_.endEach(batch.single, sheet->since);
  shown_.rest(batch.single);
  operations_.fetch_add(batch.single.size(), std::memory_order_relaxed);
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
  finished_ = &batch;
  outcome_ = sheet->outcome;
  if (messages_.empty()) startCollectives(batch);
  return true;
}

// ---- One collective after the other.

void ImageLane::startCollectives(const Batch& batch) {
  batch_ = &batch;
  batchIndex_ = 0;
  nextCall();
}

void ImageLane::nextCall() {
  coming_ = handed_ = going_ = gone_ = slices_ = 0;
  if (batchIndex_ == batch_->collective.size()) {
    idle_ = true;
    finished_ = batch_ == &lone_ ? nullptr : batch_;
    return;
  }
  call_ = batch_->collective[batchIndex_++];
  whole_ = {signatureOf(call_), countOf(call_)};
  elements_ = imageElements(call_, me_.ranks, memory_->tuning());
  slices_ = std::max<size_t>(1, (call_.count + elements_ - 1) / elements_);
  probe_->begin(call_.seq, probeCall(call_, bytesOf(call_)), probeLane_);
  probe_->phase(ProbePhase::kMoving, probeLane_);
}

void ImageLane::endCall() {
  probe_->end(call_.seq, 0, probeLane_);
  operations_.fetch_add(1, std::memory_order_relaxed);
  bytes_.fetch_add(bytesOf(call_), std::memory_order_relaxed);
  nextCall();
}

void ImageLane::comes() {
  const size_t begin = coming_ * elements_;
  const ElementRange range{begin, std::min(call_.count, begin + elements_)};
  uint8_t* image = memory_->slot(coming_);
  Slot& slot = slots_[coming_ % slots_.size()];
  slot.slice = imageSlice(call_, me_.rank, me_.ranks, range, &whole_, image);
  for (const ImageCopy& each : slot.slice.in) {
    memory_->in().copy(image + each.image, static_cast<const uint8_t*>(call_.send) + each.user,
                       each.bytes);
  }
  if (call_.scalarAddress != nullptr) {
    memory_->in().copy(memory_->scalar(coming_), call_.scalarAddress, typeSize(call_.type));
    slot.slice.call.scalarAddress = memory_->scalar(coming_);
  }
  slot.mark = memory_->in().mark();
  ++coming_;
}

// The next slice to the lane below, which carries one at a time. True: it has it.
bool ImageLane::hand() {
  if (handed_ == coming_ || handed_ != going_) return false;
  Slot& slot = slots_[handed_ % slots_.size()];
  if (!memory_->in().reached(slot.mark)) return false;
  below_->startCollective(slot.slice.call);
  ++handed_;
  return true;
}

void ImageLane::goes() {
  const uint8_t* image = memory_->slot(going_);
  Slot& slot = slots_[going_ % slots_.size()];
  for (const ImageCopy& each : slot.slice.out) {
    memory_->out().copy(static_cast<uint8_t*>(call_.recv) + each.user, image + each.image,
                        each.bytes);
  }
  slot.mark = memory_->out().mark();
  ++going_;
}

// The lane below is done with `part`, or with the slice that it has.
bool ImageLane::carried(const Batch* part) {
  if (!messages_.empty()) return messages_.carried(part, below_->outcome());
  if (handed_ == going_) return false;  // it has nothing of ours
  goes();
  return true;
}

bool ImageLane::pollCollective() {
  bool moved = false;
  for (; gone_ < going_ && memory_->out().reached(slots_[gone_ % slots_.size()].mark); ++gone_) {
    moved = true;
  }
  for (; coming_ < slices_ && coming_ - gone_ < slots_.size(); moved = true) comes();
  return hand() || moved;
}

// ---- Progress and failure.

Progress ImageLane::poll() {
  if (aborted_.ends(&failure_)) return Progress::kFailed;
  Progress below = below_->poll();
  if (below == Progress::kFailed) return fail(below_->failure());
  bool moved = below == Progress::kDone ? carried(below_->finished()) : below == Progress::kMoved;
  if (idle_) {
    finished_ = nullptr;
    return Progress::kDone;
  }
  Status copies = memory_->drive();
  if (!copies.ok()) return fail(copies);
  if (!messages_.empty()) {
    moved = messages_.poll() || moved;
    if (!finishMessages()) return moved ? Progress::kMoved : Progress::kWaiting;
    return idle_ || !messages_.empty() ? Progress::kDone : Progress::kMoved;
  }
  moved = pollCollective() || moved;
  if (gone_ < slices_) return moved ? Progress::kMoved : Progress::kWaiting;
  endCall();
  return idle_ ? Progress::kDone : Progress::kMoved;
}

Progress ImageLane::fail(const Status& status) {
  if (failure_.ok()) failure_ = status;
  abort(failure_);
  return Progress::kFailed;
}

Status ImageLane::check() {
  if (!failure_.ok()) return failure_;
  Status status = below_->check();
  if (!status.ok()) (void)fail(status);
  if (!idle_) probe_->waitsFor(below_->state().waitingFor, probeLane_);
  return failure_;
}

uint64_t ImageLane::movesOf(const Call& message) const {
  return messages_.moves(wayOf(message)) + below_->movesOf(message);
}

void ImageLane::abort(const Status& reason) {
  aborted_.keep(reason);
  below_->abort(reason);
  aborted_.show();
}

// Peers write to images alone. What is on its way from there to the user's memory ends by itself.
Status ImageLane::rehomeExposed() {
  memory_->drain();
  return below_->rehomeExposed();
}

void ImageLane::probeFailure(const Status& status) {
  if (idle_ || probedFailure_) return;
  probedFailure_ = true;
  probe_->end(seqAtHand(), static_cast<uint8_t>(status.code()), probeLane_);
}

LaneState ImageLane::state() const {
  LaneState below = below_->state();
  below.operations = operations_.load(std::memory_order_relaxed);
  below.bytes = bytes_.load(std::memory_order_relaxed);
  return below;
}

}  // namespace flexlink
