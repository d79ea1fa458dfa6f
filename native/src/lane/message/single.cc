// SPDX-License-Identifier: Apache-2.0
// Point to point: all messages of a batch at once; the n-th send to a peer meets its n-th receive.
#include <vector>

#include "device/host/kernels.h"
#include "lane/message/message_lane.h"

namespace flexlink {

void MessageLane::startSingles() {
  std::vector<const Call*> toSelf;
  for (const Call& call : batch_->single) {
    auto peer = static_cast<size_t>(call.root);
    size_t bytes = call.count * typeSize(call.type);
    bool sends = call.kind == Collective::kSend;
    if (call.root == rank_) {
      if (sends) toSelf.push_back(&call);
      continue;
    }
    // A send and its receive are alike but for their kind.
    uint64_t signature = static_cast<uint64_t>(Collective::kSend) | static_cast<uint64_t>(call.type)
                                                                        << 8;
    auto me = static_cast<uint16_t>(rank_), other = static_cast<uint16_t>(call.root);
    Bundle* bundle = peers_[peer].bundle.get();
    if (sends) {
      bundle->send({{comm_, sent_[peer]++, kTagSingle, me, other}, signature, call.count},
                   call.send, bytes, &singles_);
    } else {
      bundle->receive({{comm_, received_[peer]++, kTagSingle, other, me}, signature, call.count},
                      call.recv, bytes, &singles_);
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
  if (singles_.load(std::memory_order_acquire) != 0 || !flushed()) return Progress::kWaiting;
  operations_.fetch_add(batch_->single.size(), std::memory_order_relaxed);
  nextCollective();
  return stage_ == Stage::kIdle ? Progress::kDone : Progress::kMoved;
}

}  // namespace flexlink
