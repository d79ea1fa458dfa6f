// SPDX-License-Identifier: Apache-2.0
// Point to point: all messages of a batch at once; the n-th send to a peer meets its n-th receive.
#include <vector>

#include "device/host/kernels.h"
#include "lane/call_text.h"
#include "lane/message/message_lane.h"

namespace flexlink {
namespace {

// A send and its receive are alike but for their kind.
uint64_t singleSignature(const Call& call) {
  if (call.whole != nullptr) return call.whole->signature;
  return static_cast<uint64_t>(Collective::kSend) | static_cast<uint64_t>(call.type) << 8;
}

}  // namespace

void MessageLane::startSingles() {
  if (batch_->single.empty()) return;
  beginSingles(probe_, batch_->single, kProbeLane);
  std::vector<const Call*> toSelf;
  for (const Call& call : batch_->single) {
    auto peer = static_cast<size_t>(call.root);
    size_t bytes = call.count * typeSize(call.type);
    if (call.kind == Collective::kWaitSignal) {
      awaitedSignals_.push_back(&call);
      continue;
    }
    if (call.kind > Collective::kRecv) {
      oneSided_.send(call, &singles_);
      continue;
    }
    bool sends = call.kind == Collective::kSend;
    if (call.root == rank_) {
      if (sends) toSelf.push_back(&call);
      continue;
    }
    auto me = static_cast<uint16_t>(rank_), other = static_cast<uint16_t>(call.root);
    Message message;
    message.signature = singleSignature(call);
    message.count = countOf(call);
    message.key = sends ? MessageKey{comm_, sent_[peer]++, kTagSingle, me, other}
                        : MessageKey{comm_, received_[peer]++, kTagSingle, other, me};
    book_.mine({message.key.seq, message.key.from, message.key.to},
               {message.signature, message.count, nameOf(rank_), call.seq, sends});
    Bundle* bundle = peers_[peer].bundle.get();
    if (sends) {
      bundle->send(message, call.send, bytes, &singles_);
    } else {
      bundle->receive(message, call.recv, bytes, &singles_);
    }
  }
  size_t next = 0;
  for (const Call& call : batch_->single) {
    if (call.kind != Collective::kRecv || call.root != rank_ || next == toSelf.size()) continue;
    const Call* from = toSelf[next++];
    void* to = call.recv;
    if (to != from->send) copyTo(&to, 1, from->send, call.count * typeSize(call.type), 0);
  }
}

Progress MessageLane::pollSingles() {
  std::erase_if(awaitedSignals_, [this](const Call* call) { return oneSided_.take(*call); });
  if (!awaitedSignals_.empty()) return Progress::kWaiting;
  if (singles_.load(std::memory_order_acquire) != 0 || !flushed()) return Progress::kWaiting;
  if (!batch_->single.empty()) finishSingles();
  nextCollective();
  return stage_ == Stage::kIdle ? Progress::kDone : Progress::kMoved;
}

void MessageLane::finishSingles() {
  size_t bytes = endSingles(probe_, batch_->single, kProbeLane);
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
  operations_.fetch_add(batch_->single.size(), std::memory_order_relaxed);
  book_.messagesDone();
}

}  // namespace flexlink
