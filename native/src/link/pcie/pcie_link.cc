// SPDX-License-Identifier: Apache-2.0
#include "link/pcie/pcie_link.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "engine/fd_bell.h"
#include "link/pcie/pcie_words.h"

namespace flexlink {
namespace {

constexpr int64_t kLookNanos = 10'000'000;  // between two looks at the lifeline

Fd epollOf(int fd) {
  Fd set(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  (void)epoll_ctl(set.get(), EPOLL_CTL_ADD, fd, &event);
  return set;
}

}  // namespace

PcieLink::PcieLink(std::string name, std::unique_ptr<PcieChannel> channel, Fd lifeline,
                   LinkEvents events)
    : name_(std::move(name)),
      channel_(std::move(channel)),
      lifeline_(std::move(lifeline)),
      bell_(epollOf(lifeline_.get())),
      out_(*channel_),
      in_(*channel_, std::move(events)) {}

PcieLink::~PcieLink() { quiesce(); }

void PcieLink::post(const FrameHeader& header, const void* payload) { out_.post(header, payload); }

Status PcieLink::broken(const Status& why) const {
  return makeStatus(why.code(), "link %s: %s", name_.c_str(), why.text());
}

// What the peer has written before its end is read to the last.
Status PcieLink::poll() {
  if (!channel_) return makeStatus(Code::kRemote, "link %s is closed", name_.c_str());
  if (!failure_.ok()) return broken(failure_);
  const bool ended = peerHasEnded();
  if (aboutToSleep) storeWord<uint32_t>(side(channel_->side()).asleep, 1);
  bool moved = false;
  Status status = move(&moved);
  if (!status.ok()) return broken(status);
  tellPeer();
  if (moved) return {};
  // The device rings no doorbell.
  if (in_.flying() || out_.flying()) {
    nobodyRings = true;
  } else if (ended) {
    return broken(makeStatus(Code::kRemote, "the peer has closed the connection"));
  }
  return Status::inProgress();
}

Status PcieLink::move(bool* moved) {
  FLEXLINK_TRY(in_.move(moved));
  return out_.move(moved);
}

// A peer that has ended well says so in the memory; that of one that was killed, the kernel does.
bool PcieLink::peerHasEnded() {
  if (ended_ || loadWord(side(1 - channel_->side()).closed) != 0) return true;
  const int64_t now = nowNanos();
  if (!aboutToSleep && now - lookedAt_ < kLookNanos) return false;
  lookedAt_ = now;
  for (;;) {
    char rings[64];
    ssize_t got = recv(lifeline_.get(), rings, sizeof rings, MSG_DONTWAIT);
    if (got > 0 || (got < 0 && errno == EINTR)) continue;
    ended_ = got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    return ended_;
  }
}

// One byte, where the peer sleeps and something has changed since it was told.
void PcieLink::tellPeer() {
  PcieHead& head = channel_->segment().head();
  PcieDirection& out = head.directions[channel_->side()];
  PcieDirection& in = head.directions[1 - channel_->side()];
  const uint64_t now[4] = {loadWord(out.posted), loadWord(out.full), loadWord(in.taken),
                           loadWord(in.empty)};
  if (std::equal(now, now + 4, told_)) return;
  std::copy(now, now + 4, told_);
  std::atomic_ref<uint32_t> asleep(side(1 - channel_->side()).asleep);
  if (asleep.load(std::memory_order_seq_cst) == 0) return;
  if (asleep.exchange(0, std::memory_order_seq_cst) == 0) return;
  const char ring = 1;
  (void)send(lifeline_.get(), &ring, sizeof ring, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void PcieLink::keepOff(const void* begin, size_t bytes) {
  if (!channel_) return;
  for (const Status& status : {in_.keepOff(begin, bytes), out_.keepOff(begin, bytes)}) {
    if (failure_.ok()) failure_ = status;
  }
}

// Our streams are drained, so nothing lands after it; the peer's write to the shared memory only.
void PcieLink::quiesce() {
  if (!channel_) return;
  Status drained = channel_->drain(channel_->inStream());
  Status sent = channel_->drain(channel_->outStream());
  storeWord<uint32_t>(side(channel_->side()).closed, 1);
  bell_ = Fd();
  lifeline_ = Fd();
  if (drained.ok() && sent.ok()) {
    channel_.reset();
    return;
  }
  FLEXLINK_WARN("link %s: %s; its memory is not given back", name_.c_str(),
                drained.ok() ? sent.text() : drained.text());
  (void)channel_.release();
}

}  // namespace flexlink
