// SPDX-License-Identifier: Apache-2.0
// How a communicator's work gets done: at once by the thread that calls, or from the queue by
// whoever drives it.
#include "base/settings.h"
#include "comm/communicator.h"

namespace flexlink {
namespace {

constexpr int64_t kLookNanos = 10'000'000;  // between two looks around beside work that moves

}  // namespace

// ---- At once.

Status Communicator::readyToRun() {
  if (hasWork()) [[unlikely]]
    drainOrFail();
  waitingSince_ = 0;
  return usable();
}

Status Communicator::runNow(Call call) {
  FLEXLINK_TRY(readyToRun());
  call.seq = entered_++;
  probe_->entered(call.seq);
  lane_->startCollective(call);
  return finishNow();
}

Status Communicator::runNow(Batch* batch) {
  if (hasWork() && onlyMessages(*batch)) [[unlikely]]
    return runAmong(batch);
  FLEXLINK_TRY(readyToRun());
  number(batch);
  lane_->start(*batch);
  return finishNow();
}

// Messages wait for none of those that lie on streams, but for their own turn.
Status Communicator::runAmong(Batch* batch) {
  FLEXLINK_TRY(usable());
  auto completion = std::make_shared<Completion>();
  completion->left.store(1, std::memory_order_relaxed);
  auto pending = std::make_unique<PendingBatch>();
  pending->batch = std::move(*batch);
  pending->completion = completion;
  enqueue(std::move(pending));
  driveUntil([&] { return completion->left.load(std::memory_order_acquire) == 0; });
  std::lock_guard<std::mutex> lock(completion->mutex);
  return completion->first;
}

Status Communicator::finishNow() {
  Waiter waiter(policy_);
  for (;;) {
    Progress progress = lane_->poll();
    if (progress == Progress::kDone) break;
    if (progress == Progress::kMoved) {
      waiter.moved();
      probe_->waitsNoMore(probeLane_);
      continue;
    }
    Status status = progress == Progress::kFailed ? lane_->failure() : Status();
    if (status.ok() && waiter.lookDue()) status = checkWait();
    if (!status.ok()) {
      failAll(status);
      return firstFailure();
    }
    bool done = false;
    waiter.idle(myDoorbell(), [&] {
      progress = lane_->poll();
      done = progress == Progress::kDone;
      return progress == Progress::kWaiting;
    });
    if (done) break;
  }
  noteLinks();
  return lane_->outcome();
}

// ---- From the queue.

// In the order in which they were called: this is how the probe tells who has come how far.
void Communicator::number(Batch* batch) {
  for (Call& call : batch->single) call.seq = entered_++;
  for (Call& call : batch->collective) call.seq = entered_++;
  if (entered_ != 0) probe_->entered(entered_ - 1);
}

void Communicator::enqueue(std::unique_ptr<PendingBatch> pending) {
  number(&pending->batch);
  shell_->work.fetch_add(1, std::memory_order_seq_cst);
  std::lock_guard<std::mutex> lock(incomingMutex_);
  incoming_.push_back(std::move(pending));
  incomingAny_.store(true, std::memory_order_release);
}

void Communicator::takeIncoming() {
  if (!incomingAny_.load(std::memory_order_acquire)) return;
  std::lock_guard<std::mutex> lock(incomingMutex_);
  for (auto& pending : incoming_) queue_.push(std::move(pending));
  incoming_.clear();
  incomingAny_.store(false, std::memory_order_relaxed);
}

void Communicator::startOpen() {
  while (PendingBatch* pending = queue_.start()) {
    waitingSince_ = 0;
    lane_->start(pending->batch);
  }
}

void Communicator::finish(PendingBatch* pending, const Status& status) {
  for (const PendingBatch::Fence& fence : pending->fences)
    fence.stream->finish(fence.ticket, status);
  if (pending->completion) {
    if (!status.ok()) {
      std::lock_guard<std::mutex> lock(pending->completion->mutex);
      if (pending->completion->first.ok()) pending->completion->first = status;
    }
    pending->completion->left.fetch_sub(1, std::memory_order_seq_cst);
  }
  shell_->work.fetch_sub(1, std::memory_order_seq_cst);
  myDoorbell().ring();
}

// What the lane has just finished. The failure first: who sees that it is over asks how.
void Communicator::finishOne() {
  const Status outcome = lane_->outcome();
  const std::unique_ptr<PendingBatch> pending = queue_.take(lane_->finished());
  if (!outcome.ok() && pending->unheard) failAll(outcome);
  finish(pending.get(), outcome);
}

DriveResult Communicator::drive(bool look) {
  takeIncoming();
  if (queue_.empty()) return DriveResult::kIdle;
  Status failure = firstFailure();
  if (!failure.ok()) {
    failAll(failure);
    return DriveResult::kMoved;
  }
  startOpen();
  if (queue_.running().empty()) return DriveResult::kWaiting;
  Progress progress = lane_->poll();
  if (progress == Progress::kDone) {
    noteLinks();
    finishOne();
  }
  if (progress == Progress::kDone || progress == Progress::kMoved) return afterMove();
  Status status = progress == Progress::kFailed ? lane_->failure() : Status();
  if (status.ok() && look) status = checkWait();
  if (status.ok()) return DriveResult::kWaiting;
  failAll(status);
  return DriveResult::kMoved;
}

// Beside messages that come and go others may wait for a peer that is dead: somebody must look.
DriveResult Communicator::afterMove() {
  waitingSince_ = 0;
  if (queue_.running().empty()) return DriveResult::kMoved;
  if (queue_.running().front()->alone()) {
    probe_->waitsNoMore(probeLane_);
    return DriveResult::kMoved;
  }
  const int64_t now = nowNanos();
  if (now - lookedAt_ < kLookNanos) return DriveResult::kMoved;
  lookedAt_ = now;
  Status status = checkWait();
  if (!status.ok()) failAll(status);
  return DriveResult::kMoved;
}

// Until done(), or until no work is left.
template <typename Done>
void Communicator::driveUntil(Done&& done) {
  Waiter waiter(policy_);
  while (!done()) {
    DriveResult result = drive(waiter.lookDue());
    if (result == DriveResult::kIdle) return;
    if (result == DriveResult::kMoved) {
      waiter.moved();
      continue;
    }
    waiter.idle(myDoorbell(), [&] { return drive(false) == DriveResult::kWaiting; });
  }
}

void Communicator::drainOrFail() {
  driveUntil([] { return false; });
}

void Communicator::drainAllButReceives() {
  takeIncoming();
  driveUntil([this] { return queue_.onlyReceives(); });
}

// ---- Waiting.

// Since when nothing moves: of the batches at hand, where it is longest. Those of messages are told
// apart, for a busy one is no help to one that nobody answers; the probe shows the oldest.
int64_t Communicator::waitedSince(int64_t now) {
  if (queue_.running().empty() || queue_.running().front()->alone()) {
    if (waitingSince_ == 0) waitingSince_ = now;
    return waitingSince_;
  }
  int64_t longest = now;
  for (PendingBatch* pending : queue_.running()) {
    uint64_t moves = 0;
    for (const Call& call : pending->batch.single) moves += lane_->movesOf(call);
    PendingBatch::Turn& turn = *pending->turn;
    bool moved = turn.waitingSince == 0 || moves != turn.moves;
    if (moved) turn.waitingSince = now;
    if (moved && pending == queue_.running().front()) probe_->waitsNoMore(probeLane_);
    turn.moves = moves;
    longest = std::min(longest, turn.waitingSince);
  }
  return longest;
}

Status Communicator::checkWait() {
  noteLinks();
  const int64_t now = nowNanos();
  const int64_t since = waitedSince(now);
  FLEXLINK_TRY(lane_->check());
  double limit = timeout_.load(std::memory_order_relaxed);
  if (limit <= 0 || static_cast<double>(now - since) < limit * 1e9) return {};
  int peer = lane_->state().waitingFor;
  return makeStatus(Code::kTimeout,
                    "rank %d waited %.1f s (the limit; FLEXLINK_TIMEOUT sets it) for %s in "
                    "operation %llu",
                    rank(), limit,
                    peer >= 0 ? parts_.peers[static_cast<size_t>(peer)].name.c_str() : "its peers",
                    static_cast<unsigned long long>(lane_->state().operations));
}

}  // namespace flexlink
