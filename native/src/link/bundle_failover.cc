// SPDX-License-Identifier: Apache-2.0
// What a bundle does when a link fails or falls silent, when a communicator gives up, or when a
// peer has left.
#include <algorithm>

#include "base/log.h"
#include "link/bundle.h"

namespace flexlink {
namespace {

// Without an answer for so long, a link's oldest frame goes elsewhere, too; when that was answered
// and it still was not, the link is left.
constexpr int64_t kDoubtNanos = 200'000'000;
constexpr int64_t kSilentNanos = 400'000'000;

}  // namespace

// What it has not brought home goes over the others.
void Bundle::leave(Slot* slot, const Status& why) {
  slot->state.alive = false;
  slot->state.whyNot = why.text();
  slot->link->quiesce();
  std::deque<Unacked> left = std::move(slot->unacked);
  slot->unacked.clear();
  slot->queued = 0;
  if (!anyAlive()) {
    failure_ = makeStatus(Code::kRemote, "no link to %s is left: %s", peer_.c_str(), why.text());
    return;
  }
  if (listeners_.empty()) {
    FLEXLINK_INFO(kNet, "%s is left: %s", slot->state.name.c_str(), why.text());
  } else {
    FLEXLINK_WARN("%s to %s is left: %s; %zu frames go over other links", slot->state.name.c_str(),
                  peer_.c_str(), why.text(), left.size());
  }
  for (Unacked& frame : left) {
    frame.header.replay = 1;
    ++slot->state.replays;
    repost(std::move(frame), slot);
  }
}

void Bundle::finish(Pending** pending) {
  if (*pending == nullptr) return;
  (*pending)->fetch_sub(1, std::memory_order_seq_cst);
  *pending = nullptr;
  if (bell_ != nullptr) bell_->ring();
}

void Bundle::settle(uint64_t comm, uint16_t from, uint16_t to) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto concerns = [&](const MessageKey& key) {
    return key.comm == comm && key.from == from && key.to == to;
  };
  std::erase_if(waiting_, [&](const auto& one) {
    if (!concerns(one.first)) return false;
    finish(&one.second->pending);
    return true;
  });
  std::erase_if(ready_, [&](const auto& one) {
    if (!concerns(one->message.key)) return false;
    finish(&one->pending);
    return true;
  });
  for (auto& slot : slots_) {
    for (Unacked& frame : slot->unacked) {
      if (!frame.large || !concerns(frame.large->message.key)) continue;
      std::shared_ptr<Outbound> out = frame.large;
      keepOwnCopy(&frame);
      finish(&out->pending);
    }
  }
}

// It goes on from a copy: the frames behind it stay readable, and the memory is the user's again.
void Bundle::keepOwnCopy(Unacked* frame) {
  keepOff(frame->payload(), frame->header.length);
  frame->copyPayload();
}

void Bundle::Unacked::copyPayload() {
  const auto* from = static_cast<const uint8_t*>(payload());
  small = std::make_shared<std::vector<uint8_t>>(from, from + header.length);
  large.reset();
}

void Bundle::forget(uint64_t comm, uint16_t rank) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto outgoing = [&](const MessageKey& key) { return key.comm == comm && key.from == rank; };
  auto incoming = [&](const MessageKey& key) { return key.comm == comm && key.to == rank; };
  std::erase_if(waiting_, [&](const auto& one) { return outgoing(one.first); });
  std::erase_if(credits_, [&](const auto& one) { return outgoing(one.first); });
  std::erase_if(ready_, [&](const auto& one) { return outgoing(one->message.key); });
  std::erase_if(early_, [&](const auto& one) {
    if (!incoming(one.first)) return false;
    keepOff(one.second.bytes.data(), one.second.bytes.size());
    earlyBytes_ -= one.second.bytes.size();
    return true;
  });
  std::erase_if(inbound_, [&](const auto& one) {
    if (!incoming(one.first)) return false;
    keepOff(one.second.data, one.second.bytes);
    return true;
  });
  for (auto& slot : slots_) {
    for (Unacked& frame : slot->unacked) {
      if (frame.large && outgoing(frame.large->message.key)) keepOwnCopy(&frame);
    }
  }
}

// A link that does not answer is doubted: its oldest frame goes over another one as well. When that
// one has answered and this one still has not, it is left.
Status Bundle::check(int64_t now) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto& slot : slots_) {
    if (!slot->state.alive || slot->unacked.empty()) continue;
    const Unacked& oldest = slot->unacked.front();
    int64_t silent = now - std::max(oldest.sentAt, slot->heardAt);
    if (silent > kDoubtNanos && !slot->probed) {
      slot->probed = true;
      Unacked again = oldest;
      again.header.replay = 1;
      // Whoever acknowledges first must not finish the message for both.
      if (again.large) again.copyPayload();
      repost(std::move(again), slot.get());
    }
    bool answeredElsewhere = std::any_of(slots_.begin(), slots_.end(), [&](const auto& other) {
      return other != slot && other->state.alive && now - other->heardAt < silent - kDoubtNanos / 2;
    });
    if (silent > kSilentNanos && answeredElsewhere) {
      leave(slot.get(),
            makeStatus(Code::kRemote, "silent for %lld ms while the peer answers elsewhere",
                       static_cast<long long>(silent / 1'000'000)));
    }
  }
  return failure_;
}

}  // namespace flexlink
