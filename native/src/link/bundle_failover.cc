// SPDX-License-Identifier: Apache-2.0
// What a bundle does when a link fails or falls silent, when a communicator gives up, or when a
// peer has left.
#include <algorithm>

#include "base/clock.h"
#include "base/log.h"
#include "link/bundle.h"

namespace flexlink {
namespace {

constexpr int64_t kCheckNanos = 10'000'000;  // between two looks
// Without an answer for so long, a link is doubted: the others are asked for one. When they have
// given it, it is left.
constexpr int64_t kDoubtNanos = 150'000'000;
constexpr int64_t kSilentNanos = 300'000'000;
// For so long a link may answer later than the others, when the peer has been away.
constexpr int64_t kGraceNanos = 100'000'000;
// A host that has owed an answer for so long is gone.
constexpr int64_t kGoneNanos = 8'000'000'000;

constexpr size_t kClosedKept = 256;  // ranks of communicators that were forgotten last

}  // namespace

void Bundle::setOwner(BundleOwner owner) {
  std::lock_guard<std::mutex> lock(mutex_);
  owner_ = std::move(owner);
}

Bundle::Slot* Bundle::find(uint32_t number) const {
  for (const auto& slot : slots_) {
    if (slot->place.number == number) return slot.get();
  }
  return nullptr;
}

// The peer may have left the old one, of which this side knows nothing yet.
void Bundle::add(LinkPlace place, const std::function<std::unique_ptr<Link>(LinkEvents)>& make,
                 const LinkModel& model) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!failure_.ok()) return;
  Slot* slot = find(place.number);
  std::deque<Unacked> left;
  LinkState state;
  if (slot == nullptr) {
    slots_.push_back(std::unique_ptr<Slot>(new Slot{place, model}));
    slot = slots_.back().get();
  } else {
    left = closeLink(slot, makeStatus(Code::kRemote, "it is made again"));
    state = std::move(slot->state);
    *slot = Slot{place, model};
  }
  slot->heardAt = nowNanos();
  slot->state = std::move(state);
  slot->state.alive = true;
  slot->state.whyNot.clear();
  slot->link = make({[this](const FrameHeader& header) { return this->place(header); },
                     [this, slot](const FrameHeader& header) { arrived(slot, header); }});
  slot->state.name = slot->link->name();
  slot->roundTrip = slot->link->pulse().roundTripNanos;
  std::erase_if(leftOut_, [&](const LinkState& one) { return one.name == slot->state.name; });
  resend(std::move(left), slot);
  if (bell_ == nullptr) return;
  bell_->add(slot->link->fd());
  bell_->ring();  // sleepers are to listen to this one, too
}

void Bundle::add(const std::function<std::unique_ptr<Link>(LinkEvents)>& make,
                 const LinkModel& model) {
  add({static_cast<uint32_t>(state().size()), 0}, make, model);
}

// What it has not brought home is left to be sent again.
std::deque<Bundle::Unacked> Bundle::closeLink(Slot* slot, const Status& why) {
  slot->state.alive = false;
  slot->state.whyNot = why.text();
  slot->link->quiesce();
  slot->queued = 0;
  return std::exchange(slot->unacked, {});
}

void Bundle::resend(std::deque<Unacked> frames, Slot* from) {
  for (Unacked& frame : frames) {
    frame.header.replay = 1;
    ++from->state.replays;
    repost(std::move(frame));
  }
}

// Is anything still to come from the peer or to be brought there? Its last words are waited for
// from the start: not when all its ranks have left, or all of this side's.
bool Bundle::wanted() const {
  auto last = [](const auto& one) { return one.first.tag == kLastTag; };
  return !listeners_.empty() && (std::any_of(inbound_.begin(), inbound_.end(), last) ||
                                 !waiting_.empty() || !ready_.empty());
}

// The peer is told, for a link that looks well to one side is of no use when the other has left it.
void Bundle::leave(Slot* slot, const Status& why) {
  if (!slot->state.alive) return;
  std::deque<Unacked> left = closeLink(slot, why);
  if (bell_ != nullptr) bell_->ring();
  if (!anyAlive()) {
    if (!failure_.ok()) return;
    failure_ = makeStatus(Code::kRemote, "no link to %s is left: %s", peer_.c_str(), why.text());
    return;
  }
  if (!wanted()) {
    FLEXLINK_INFO(kNet, "%s is left: %s", slot->state.name.c_str(), why.text());
  } else {
    FLEXLINK_WARN("%s to %s is left: %s; %zu frames go over other links", slot->state.name.c_str(),
                  peer_.c_str(), why.text(), left.size());
  }
  resend(std::move(left), slot);
  Unacked notice;
  notice.header.kind = FrameKind::kLeft;
  notice.header.offset = slot->place.number;
  notice.header.seq = slot->place.round;
  repost(std::move(notice));
  if (owner_.left) owner_.left(slot->place.number);
}

void Bundle::leaveAsPeerDid() {
  for (LinkPlace place : std::exchange(leftByPeer_, {})) {
    Slot* slot = find(place.number);
    if (slot == nullptr || slot->place.round != place.round) continue;
    leave(slot, makeStatus(Code::kRemote, "the peer has left it"));
  }
}

void Bundle::drop(uint32_t number, const Status& why) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    Slot* slot = find(number);
    bool others = std::any_of(slots_.begin(), slots_.end(), [&](const auto& other) {
      return other.get() != slot && other->state.alive;
    });
    if (slot == nullptr || !others) return;
    leave(slot, why);
  }
  (void)poll();
}

void Bundle::fail(const Status& why) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (failure_.ok()) failure_ = why;
  for (auto& slot : slots_) {
    if (slot->state.alive) (void)closeLink(slot.get(), why);
  }
  if (bell_ != nullptr) bell_->ring();
}

bool Bundle::failed() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return !failure_.ok();
}

void Bundle::finish(Pending** pending) {
  if (*pending == nullptr) return;
  (*pending)->fetch_sub(1, std::memory_order_seq_cst);
  *pending = nullptr;
  if (bell_ != nullptr) bell_->ring();
}

bool Bundle::withdraw(const MessageKey& key) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = inbound_.find(key);
  if (found == inbound_.end()) return false;
  keepOff(found->second.data, found->second.bytes);
  finish(&found->second.pending);
  inbound_.erase(found);
  return true;
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
  const auto* from = static_cast<const uint8_t*>(frame->payload());
  keepOff(from, frame->header.length);
  frame->small = std::make_shared<std::vector<uint8_t>>(from, from + frame->header.length);
  frame->large.reset();
}

// What peers still send, as their farewells, would wait for ever for somebody to ask for it.
bool Bundle::isClosed(uint64_t comm, uint16_t rank) const {
  return std::find(closed_.rbegin(), closed_.rend(), std::pair{comm, rank}) != closed_.rend();
}

void Bundle::forget(uint64_t comm, uint16_t rank) {
  std::lock_guard<std::mutex> lock(mutex_);
  closed_.push_back({comm, rank});
  if (closed_.size() > kClosedKept) closed_.pop_front();
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

void Bundle::check(int64_t now) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (failure_.ok() && now - checkedAt_ >= kCheckNanos) checkLinks(now);
}

bool Bundle::look(int64_t now) {
  (void)poll();
  check(now);
  std::lock_guard<std::mutex> lock(mutex_);
  owes_ = failure_.ok() && std::any_of(slots_.begin(), slots_.end(), [](const auto& slot) {
            return slot->state.alive && !slot->unacked.empty();
          });
  return owes_;
}

// The other host may owe the acknowledgement of bytes, or its process that of frames; a process
// that computes may do so for long.
int64_t Bundle::silentFor(const Slot& slot, int64_t now) const {
  int64_t silent = slot.silence.ofHost(now);
  if (slot.unacked.empty()) return silent;
  int64_t heardAt = std::max(slot.heardAt, slot.silence.heardAt());
  return std::max(silent, now - std::max(slot.unacked.front().sentAt, heardAt));
}

bool Bundle::answeredElsewhere(const Slot& slot, int64_t since) const {
  bool byHost = slot.silence.ofHost(nowNanos()) >= kSilentNanos;
  return std::any_of(slots_.begin(), slots_.end(), [&](const auto& other) {
    if (other.get() == &slot || !other->state.alive) return false;
    return other->heardAt > since || (byHost && other->silence.heardAt() > since);
  });
}

void Bundle::nudgeOthers(const Slot* except) {
  for (auto& slot : slots_) {
    if (slot.get() == except || !slot->state.alive || !slot->unacked.empty()) continue;
    Unacked nudge;
    nudge.header.kind = FrameKind::kNudge;
    post(slot.get(), std::move(nudge), nowNanos());
  }
}

void Bundle::checkLinks(int64_t now) {
  checkedAt_ = now;
  for (auto& slot : slots_) {
    if (!slot->state.alive) continue;
    LinkPulse pulse = slot->link->pulse();
    slot->silence.look(now, pulse);
    slot->roundTrip = pulse.roundTripNanos;
  }
  for (auto& slot : slots_) {
    if (slot->state.alive) checkLink(slot.get(), now);
  }
}

void Bundle::checkLink(Slot* slot, int64_t now) {
  int64_t silent = silentFor(*slot, now);
  if (silent <= kDoubtNanos) {
    slot->nudged = false;
    slot->answeredAt = 0;
    return;
  }
  if (!std::exchange(slot->nudged, true)) nudgeOthers(slot);
  if (!answeredElsewhere(*slot, now - silent + kDoubtNanos / 2)) {
    slot->answeredAt = 0;
  } else if (slot->answeredAt == 0) {
    slot->answeredAt = now;
  }
  if (slot->silence.ofHost(now) > kGoneNanos) {
    leave(slot, makeStatus(Code::kRemote, "its host has not answered for %lld s",
                           static_cast<long long>(kGoneNanos / 1'000'000'000)));
  } else if (silent > kSilentNanos && slot->answeredAt != 0 &&
             now - slot->answeredAt >= kGraceNanos) {
    leave(slot, makeStatus(Code::kRemote, "silent for %lld ms while the peer answers elsewhere",
                           static_cast<long long>(silent / 1'000'000)));
  }
}

}  // namespace flexlink
