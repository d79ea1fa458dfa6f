// SPDX-License-Identifier: Apache-2.0
#include "comm/batch_queue.h"

#include <algorithm>

#include "engine/fd_bell.h"

namespace flexlink {
namespace {

// Its ways: to a peer, and from a peer; each once.
std::unique_ptr<PendingBatch::Turn> turnOf(const Batch& batch) {
  auto turn = std::make_unique<PendingBatch::Turn>();
  std::vector<size_t>& ways = turn->ways;
  for (const Call& call : batch.single) ways.push_back(wayOf(call));
  std::sort(ways.begin(), ways.end());
  ways.erase(std::unique(ways.begin(), ways.end()), ways.end());
  return turn;
}

}  // namespace

bool PendingBatch::fencesOpen() const {
  return std::all_of(fences.begin(), fences.end(), [](const Fence& fence) {
    if (fence.stream->finished() >= fence.before) return true;
    fence.stream->refresh();
    if (fence.stream->awaitsCounter()) nobodyRings = true;
    return fence.stream->finished() >= fence.before;
  });
}

void BatchQueue::push(std::unique_ptr<PendingBatch> pending) {
  if (overlaps_ && onlyMessages(pending->batch)) pending->turn = turnOf(pending->batch);
  waiting_.push_back(std::move(pending));
  admit();
}

bool BatchQueue::onlyReceives() const {
  auto receives = [](const std::unique_ptr<PendingBatch>& pending) {
    const Batch& batch = pending->batch;
    return batch.collective.empty() &&
           std::all_of(batch.single.begin(), batch.single.end(),
                       [](const Call& call) { return call.kind == Collective::kRecv; });
  };
  return std::all_of(atHand_.begin(), atHand_.end(), receives) &&
         std::all_of(waiting_.begin(), waiting_.end(), receives);
}

// What is alone comes when nothing is at hand, and nothing comes to it.
void BatchQueue::admit() {
  while (!waiting_.empty()) {
    PendingBatch* first = waiting_.front().get();
    if (!atHand_.empty() && (first->alone() || atHand_.front()->alone())) return;
    atHand_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    if (first->alone()) return next_.push_back(first);
    for (size_t way : first->turn->ways) {
      if (!toStart_[way].empty()) ++first->turn->blocked;
      toStart_[way].push_back(first);
    }
    if (first->turn->blocked == 0) next_.push_back(first);
  }
}

PendingBatch* BatchQueue::start() {
  auto open = std::find_if(next_.begin(), next_.end(),
                           [](const PendingBatch* one) { return one->fencesOpen(); });
  if (open == next_.end()) return nullptr;
  PendingBatch* pending = *open;
  next_.erase(open);
  running_.push_back(pending);
  if (pending->alone()) return pending;
  for (size_t way : pending->turn->ways) {
    toStart_[way].pop_front();
    if (toStart_[way].empty()) continue;
    PendingBatch* behind = toStart_[way].front();
    if (--behind->turn->blocked == 0) next_.push_back(behind);
  }
  return pending;
}

std::unique_ptr<PendingBatch> BatchQueue::take(const Batch* finished) {
  auto running = std::find_if(running_.begin(), running_.end(), [&](const PendingBatch* one) {
    return running_.size() == 1 || &one->batch == finished;
  });
  auto found = std::find_if(atHand_.begin(), atHand_.end(),
                            [&](const auto& one) { return one.get() == *running; });
  std::unique_ptr<PendingBatch> taken = std::move(*found);
  running_.erase(running);
  atHand_.erase(found);
  admit();
  return taken;
}

std::deque<std::unique_ptr<PendingBatch>> BatchQueue::takeAll() {
  std::deque<std::unique_ptr<PendingBatch>> all = std::move(atHand_);
  for (auto& pending : waiting_) all.push_back(std::move(pending));
  atHand_.clear();
  waiting_.clear();
  next_.clear();
  running_.clear();
  for (auto& way : toStart_) way.clear();
  return all;
}

}  // namespace flexlink
