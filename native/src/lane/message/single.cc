// SPDX-License-Identifier: Apache-2.0
// Point to point: all messages of a batch at once; the n-th send to a peer meets its n-th receive.
#include <algorithm>
#include <vector>

#include "device/host/kernels.h"
#include "lane/call_text.h"
#include "lane/message/message_lane.h"

namespace flexlink {
void MessageLane::startSingles(const Batch& batch) {
  if (spareLetters_.empty()) spareLetters_.push_back(std::make_unique<Letters>());
  letters_.push_back(std::move(spareLetters_.back()));
  spareLetters_.pop_back();
  Letters& letters = *letters_.back();
  letters.batch = &batch;
  letters.since = shown_.begin(batch.single);
  for (const Call& call : batch.single) {
    if (call.kind == Collective::kWaitSignal) {
      letters.awaitedSignals.push_back(&call);
    } else if (!isMessage(call.kind)) {
      oneSided_.send(call, &letters.pending);
    } else if (call.root == rank_) {
      postToSelf(call, &letters);
    } else {
      post(call, &letters);
    }
  }
}

void MessageLane::post(const Call& call, Letters* letters) {
  const bool sends = call.kind == Collective::kSend;
  const auto peer = static_cast<size_t>(call.root);
  const size_t bytes = bytesOf(call);
  auto me = static_cast<uint16_t>(rank_), other = static_cast<uint16_t>(call.root);
  Message message;
  message.signature = messageSignature(call);
  message.count = countOf(call);
  message.key = sends ? MessageKey{comm_, sent_[peer]++, kTagSingle, me, other}
                      : MessageKey{comm_, received_[peer]++, kTagSingle, other, me};
  letters->booked.push_back({message.key.seq, message.key.from, message.key.to});
  book_.mine(letters->booked.back(),
             {message.signature, message.count, nameOf(rank_), call.seq, sends});
  Bundle* bundle = peers_[peer].bundle.get();
  if (sends) {
    bundle->send(message, call.send, bytes, &letters->pending);
  } else {
    bundle->receive(message, call.recv, bytes, &letters->pending);
  }
}

// A rank's messages to itself need no wire; the two ends may be in different batches.
void MessageLane::postToSelf(const Call& call, Letters* letters) {
  letters->pending.fetch_add(1, std::memory_order_relaxed);
  (call.kind == Collective::kSend ? ownSends_ : ownReceives_).push_back({&call, letters});
  if (ownSends_.empty() || ownReceives_.empty()) return;
  const OwnEnd from = ownSends_.front(), to = ownReceives_.front();
  ownSends_.pop_front();
  ownReceives_.pop_front();
  const CallBook::Which which{sent_[static_cast<size_t>(rank_)]++, rank_, rank_};
  from.letters->booked.push_back(which);
  auto said = [&](const Call& own, bool sends) {
    return CallBook::Said{messageSignature(own), countOf(own), nameOf(rank_), own.seq, sends};
  };
  book_.mine(which, said(*from.call, true));
  book_.theirs(which, said(*to.call, false));
  if (book_.differs()) return;
  void* at = to.call->recv;
  if (at != from.call->send) {
    copyTo(&at, 1, from.call->send, bytesOf(*to.call), 0);
  }
  from.letters->pending.fetch_sub(1, std::memory_order_relaxed);
  to.letters->pending.fetch_sub(1, std::memory_order_relaxed);
}

// Each batch by itself: a message that waits for its peer's credit holds up no other. While others
// are at hand, this rank stays here; with the last one everything must have left.
Progress MessageLane::pollSingles() {
  for (size_t i = 0; i < letters_.size(); ++i) {
    Letters& letters = *letters_[i];
    std::erase_if(letters.awaitedSignals,
                  [this](const Call* call) { return oneSided_.take(*call); });
    if (!letters.awaitedSignals.empty()) continue;
    if (letters.pending.load(std::memory_order_acquire) != 0) continue;
    if (letters_.size() > 1 || flushed()) return finishSingles(i);
  }
  return Progress::kWaiting;
}

Progress MessageLane::finishSingles(size_t index) {
  std::unique_ptr<Letters> letters = std::move(letters_[index]);
  letters_.erase(letters_.begin() + static_cast<ptrdiff_t>(index));
  const Batch& batch = *letters->batch;
  outcome_ = std::move(letters->lost);
  letters->lost = {};
  const size_t bytes = shown_.endEach(batch.single, letters->since);
  shown_.rest(batch.single);
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
  operations_.fetch_add(batch.single.size(), std::memory_order_relaxed);
  book_.messagesDone(letters->booked);
  letters->booked.clear();
  spareLetters_.push_back(std::move(letters));
  if (!letters_.empty() || batch.collective.empty()) {
    if (letters_.empty()) stage_ = Stage::kIdle;
    finishedBatch_ = &batch;
    return Progress::kDone;
  }
  startCollectives(batch);
  return Progress::kMoved;
}

// A receive that is alone in its batch ends by itself when its sender has left.
void MessageLane::loseReceives(size_t peer) {
  if (!left_[peer]) return;
  for (const auto& letters : letters_) {
    const Call& first = letters->batch->single.front();
    const bool alone = isLoneReceive(*letters->batch) && static_cast<size_t>(first.root) == peer;
    if (!alone || letters->booked.empty()) continue;
    const CallBook::Which& which = letters->booked.front();
    const MessageKey key{comm_, which.seq, kTagSingle, static_cast<uint16_t>(which.from),
                         static_cast<uint16_t>(which.to)};
    if (!peers_[peer].bundle->withdraw(key)) continue;
    letters->lost = makeStatus(
        Code::kRemote, "%s has left the communicator while rank %d waits in operation %llu (%s)",
        peers_[peer].name.c_str(), nameOf(rank_), static_cast<unsigned long long>(first.seq),
        "point to point");
  }
}

uint64_t MessageLane::movesOf(const Call& message) const {
  const Bundle* bundle = peers_[static_cast<size_t>(message.root)].bundle.get();
  auto found = std::find(bundles_.begin(), bundles_.end(), bundle);
  return found == bundles_.end() ? 0 : moves_[static_cast<size_t>(found - bundles_.begin())];
}

}  // namespace flexlink
