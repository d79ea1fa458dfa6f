// SPDX-License-Identifier: Apache-2.0
#include "lane/hier/hier_lane.h"

#include <algorithm>

#include "lane/call_text.h"

namespace flexlink {
namespace {

constexpr size_t kWindow = 3;  // segments under way at the same time

bool isEmpty(const Batch& batch) { return batch.single.empty() && batch.collective.empty(); }

}  // namespace

HierLane::HierLane(HostMap map, HierLanes lanes, ProbeComm* probe)
    : map_(std::move(map)), lanes_(std::move(lanes)), probe_(probe), shown_(probe, kProbeLane) {
  memory_.lane = lanes_.memory.get();
  rail_.lane = lanes_.rail.get();
  pairs_.lane = lanes_.pairs.get();
}

void HierLane::start(const Batch& batch) {
  outcome_ = {};
  idle_ = false;
  if (batch.single.empty()) return startCollectives(batch);
  startSingles(batch);
}

void HierLane::startCollective(const Call& call) {
  lone_.collective.assign(1, call);
  start(lone_);
}

// ---- Single calls: to the lanes below, which run them side by side.

void HierLane::startSingles(const Batch& batch) {
  letters_.push_back(std::make_unique<Letters>());
  Letters& letters = *letters_.back();
  letters.batch = &batch;
  letters.since = shown_.begin(batch.single);
  letters.part = hierSingles(map_, batch.single);
  auto give = [](Worker* worker, const Batch& part) {
    if (isEmpty(part)) return false;
    worker->lane->start(part);
    ++worker->letters;
    return true;
  };
  letters.insideRuns = give(&memory_, letters.part.inside);
  letters.pairsRun = give(&pairs_, letters.part.pairs);
}

// A lane below is done with `done`; false: that were no single calls.
bool HierLane::lettersOver(Worker* worker, const Batch* done) {
  for (auto& letters : letters_) {
    bool inside = done == &letters->part.inside;
    if (!inside && done != &letters->part.pairs) continue;
    (inside ? letters->insideRuns : letters->pairsRun) = false;
    if (letters->outcome.ok()) letters->outcome = worker->lane->outcome();
    --worker->letters;
    return true;
  }
  return false;
}

// True: those of a batch are done.
bool HierLane::finishSingles() {
  auto over = std::find_if(letters_.begin(), letters_.end(), [](const auto& letters) {
    return !letters->insideRuns && !letters->pairsRun;
  });
  if (over == letters_.end()) return false;
  const Batch& batch = *(*over)->batch;
  const size_t bytes = shown_.endEach(batch.single, (*over)->since);
  shown_.rest(batch.single);
  operations_.fetch_add(batch.single.size(), std::memory_order_relaxed);
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
  outcome_ = (*over)->outcome;
  letters_.erase(over);
  finished_ = &batch;
  if (letters_.empty()) startCollectives(batch);
  return true;
}

// ---- One collective after the other.

void HierLane::startCollectives(const Batch& batch) {
  batch_ = &batch;
  batchIndex_ = 0;
  nextCall();
}

void HierLane::nextCall() {
  before_ = ready_ = between_ = after_ = 0;
  if (batchIndex_ == batch_->collective.size()) {
    idle_ = true;
    finished_ = batch_ == &lone_ ? nullptr : batch_;
    return;
  }
  call_ = batch_->collective[batchIndex_++];
  whole_ = {signatureOf(call_), countOf(call_)};
  segmentElements_ = hierSegmentElements(map_, call_);
  segments_ = std::max<size_t>(1, (call_.count + segmentElements_ - 1) / segmentElements_);
  probe_->begin(call_.seq, probeCall(call_, bytesOf(call_)), kProbeLane);
  probe_->phase(ProbePhase::kMoving, kProbeLane);
}

void HierLane::endCall() {
  probe_->end(call_.seq, 0, kProbeLane);
  operations_.fetch_add(1, std::memory_order_relaxed);
  bytes_.fetch_add(bytesOf(call_), std::memory_order_relaxed);
  nextCall();
}

void HierLane::makeActive() {
  auto active = std::make_unique<Active>();
  active->number = before_;
  size_t begin = before_ * segmentElements_;
  ElementRange range{begin, std::min(call_.count, begin + segmentElements_)};
  if (!spare_.empty()) {
    active->scratch = std::move(spare_.back());
    spare_.pop_back();
  }
  size_t bytes = hierScratchBytes(map_, call_, range.size());
  if (active->scratch.size() < bytes) active->scratch.resize(bytes);
  active->part = hierPart(map_, call_, &whole_, range, active->scratch.data());
  active_.push_back(std::move(active));
}

// ---- Which lane does what next.

HierLane::Active* HierLane::numbered(size_t number) {
  for (auto& active : active_) {
    if (active->number == number) return active.get();
  }
  return nullptr;
}

// True: there was nothing to do, or it was begun.
bool HierLane::give(Worker* worker, const Batch& batch, Active* active) {
  if (worker->lane == nullptr || isEmpty(batch)) return false;
  worker->at = active;
  worker->lane->start(batch);
  return true;
}

bool HierLane::scheduleMemory() {
  if (memory_.at != nullptr || ready_ != before_) return false;
  if (before_ < segments_ && before_ < after_ + kWindow) {
    makeActive();
    ++before_;
    if (!give(&memory_, active_.back()->part.before, active_.back().get())) ++ready_;
    return true;
  }
  Active* next = after_ < segments_ ? numbered(after_) : nullptr;
  if (next == nullptr) return false;
  bool may = next->between && (next->running == 0 || next->part.together);
  if (!may) return false;
  ++after_;
  (void)give(&memory_, next->part.after, next);
  return true;
}

bool HierLane::scheduleBetween() {
  if (between_ == ready_ || rail_.at != nullptr || pairs_.at != nullptr) return false;
  Active* next = numbered(between_++);
  next->between = true;
  next->running += give(&rail_, next->part.rail, next) ? 1 : 0;
  next->running += give(&pairs_, next->part.pairs, next) ? 1 : 0;
  return true;
}

// Gives idle lanes what is due; true: something was begun or is over.
bool HierLane::schedule() {
  bool moved = scheduleMemory() || scheduleBetween();
  while (!active_.empty()) {
    Active& first = *active_.front();
    bool over = first.number < after_ && memory_.at != &first && first.running == 0;
    if (!over) break;
    spare_.push_back(std::move(first.scratch));
    active_.pop_front();
    moved = true;
  }
  return moved;
}

void HierLane::finished(Worker* worker) {
  if (worker != &memory_) {
    --worker->at->running;
  } else if (ready_ < before_) {
    ++ready_;
  }
  worker->at = nullptr;
}

// ---- Progress and failure.

Progress HierLane::pollWorker(Worker* worker) {
  if (worker->lane == nullptr) return Progress::kWaiting;
  Progress progress = worker->lane->poll();
  if (progress != Progress::kDone) return progress;
  if (worker->at != nullptr) {
    finished(worker);
  } else if (!lettersOver(worker, worker->lane->finished())) {
    return Progress::kWaiting;
  }
  return progress;
}

Progress HierLane::poll() {
  if (aborted_.ends(&failure_)) return Progress::kFailed;
  bool moved = false;
  for (Worker* worker : {&memory_, &rail_, &pairs_}) {
    // Links move also what other communicators and earlier calls have under way.
    if (worker->at == nullptr && worker->letters == 0 && worker != &pairs_) continue;
    Progress progress = pollWorker(worker);
    if (progress == Progress::kFailed) return fail(worker->lane->failure());
    moved = moved || progress != Progress::kWaiting;
  }
  if (idle_) {
    finished_ = nullptr;
    return Progress::kDone;
  }
  if (!letters_.empty()) {
    if (!finishSingles()) return moved ? Progress::kMoved : Progress::kWaiting;
    return idle_ || !letters_.empty() ? Progress::kDone : Progress::kMoved;
  }
  while (schedule()) moved = true;
  if (after_ < segments_ || !active_.empty()) return moved ? Progress::kMoved : Progress::kWaiting;
  endCall();
  return idle_ ? Progress::kDone : Progress::kMoved;
}

Progress HierLane::fail(const Status& status) {
  if (failure_.ok()) failure_ = status;
  abort(failure_);
  return Progress::kFailed;
}

Status HierLane::check() {
  if (!failure_.ok()) return failure_;
  for (Worker* worker : {&memory_, &rail_, &pairs_}) {
    if (worker->lane == nullptr) continue;
    Status status = worker->lane->check();
    if (!status.ok()) {
      (void)fail(status);
      return failure_;
    }
  }
  waitingFor_.store(awaited(), std::memory_order_relaxed);
  if (!idle_) probe_->waitsFor(waitingFor_.load(std::memory_order_relaxed), kProbeLane);
  return failure_;
}

// For people: the rank that the lane below which is at work waits for; of several batches of single
// calls, with the oldest.
int HierLane::awaited() const {
  auto awaitedBy = [this](const Worker& worker) {
    return nameOf(worker, worker.lane->state().waitingFor);
  };
  if (!letters_.empty()) {
    const Letters& oldest = *letters_.front();
    int inside = oldest.insideRuns ? awaitedBy(memory_) : -1;
    return inside < 0 && oldest.pairsRun ? awaitedBy(pairs_) : inside;
  }
  if (memory_.at != nullptr) return awaitedBy(memory_);
  int outside = rail_.at != nullptr ? awaitedBy(rail_) : -1;
  return outside < 0 && pairs_.at != nullptr ? awaitedBy(pairs_) : outside;
}

// What a lane below calls `awaited`, as a rank of the communicator.
int HierLane::nameOf(const Worker& worker, int awaited) const {
  if (awaited < 0 || &worker == &pairs_) return awaited;
  const auto at = static_cast<size_t>(awaited);
  if (&worker == &memory_) return map_.neighbours()[at];
  return map_.ranksOf[at][static_cast<size_t>(map_.local())];
}

uint64_t HierLane::movesOf(const Call& message) const {
  if (!map_.sameHost(message.root)) return pairs_.lane->movesOf(message);
  Call inside = message;
  inside.root = map_.localOf[static_cast<size_t>(message.root)];
  return memory_.lane->movesOf(inside);
}

uint64_t HierLane::seqAtHand() const {
  return letters_.empty() ? call_.seq : letters_.front()->batch->single.front().seq;
}

void HierLane::abort(const Status& reason) {
  aborted_.keep(reason);
  for (const Worker* worker : {&memory_, &rail_, &pairs_}) {
    if (worker->lane != nullptr) worker->lane->abort(reason);
  }
  aborted_.show();
}

void HierLane::close() {
  for (const Worker* worker : {&memory_, &rail_, &pairs_}) {
    if (worker->lane != nullptr) worker->lane->close();
  }
}

void HierLane::probeFailure(const Status& status) {
  if (idle_ || probedFailure_) return;
  probedFailure_ = true;
  probe_->end(seqAtHand(), static_cast<uint8_t>(status.code()), kProbeLane);
}

LaneState HierLane::state() const {
  return {"hier", operations_.load(std::memory_order_relaxed),
          bytes_.load(std::memory_order_relaxed), waitingFor_.load(std::memory_order_relaxed)};
}

}  // namespace flexlink
