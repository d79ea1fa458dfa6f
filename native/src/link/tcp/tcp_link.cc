// SPDX-License-Identifier: Apache-2.0
#include "link/tcp/tcp_link.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>

namespace flexlink {
namespace {

constexpr size_t kInboxBytes = 64 << 10;
constexpr size_t kBudgetBytes = 1 << 20;  // of one poll and direction: others wait for their turn
constexpr int kFramesPerCall = 16;

bool overlaps(const uint8_t* a, size_t aBytes, const void* begin, size_t bytes) {
  const auto* b = static_cast<const uint8_t*>(begin);
  return a < b + bytes && b < a + aBytes;
}

// A host that answers nothing is given up after 8 s, also when nothing is under way; a process that
// is stopped or computes is not, for its kernel answers.
void keepAlive(int fd) {
  const int on = 1, idleSeconds = 3, seconds = 1, count = 5;
  (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idleSeconds, sizeof idleSeconds);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

}  // namespace

TcpLink::TcpLink(std::string name, Fd fd, LinkEvents events)
    : name_(std::move(name)),
      fd_(std::move(fd)),
      events_(std::move(events)),
      inbox_(new uint8_t[kInboxBytes]) {
  keepAlive(fd_.get());
}

// Without an answer to a probe of a closed window the host has gone as well as with data on its
// way.
LinkPulse pulseOf(int fd) {
  tcp_info info{};
  socklen_t bytes = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0) return {};
  LinkPulse pulse;
  pulse.owed = info.tcpi_unacked != 0 || info.tcpi_probes != 0;
  pulse.delivered = info.tcpi_bytes_acked;
  pulse.heardNanos =
      int64_t{std::min(info.tcpi_last_ack_recv, info.tcpi_last_data_recv)} * 1'000'000;
  if (info.tcpi_min_rtt != UINT32_MAX) pulse.roundTripNanos = int64_t{info.tcpi_min_rtt} * 1'000;
  return pulse;
}

void TcpLink::post(const FrameHeader& header, const void* payload) {
  out_.push_back({header, static_cast<const uint8_t*>(payload), {}});
}

Status TcpLink::broken(const char* what, int error) const {
  return makeStatus(Code::kRemote, "link %s: %s: %s", name_.c_str(), what,
                    error == 0 ? "the peer has closed the connection" : strerror(error));
}

Status TcpLink::poll() {
  if (fd_.get() < 0) return makeStatus(Code::kRemote, "link %s is closed", name_.c_str());
  bool moved = false;
  FLEXLINK_TRY(receive(&moved));
  FLEXLINK_TRY(flush(&moved));
  return moved ? Status() : Status::inProgress();
}

Status TcpLink::flush(bool* moved) {
  for (size_t budget = kBudgetBytes; !out_.empty() && budget != 0;) {
    iovec parts[2 * kFramesPerCall];
    size_t count = 0, skip = sent_;
    for (size_t i = 0; i < out_.size() && i < kFramesPerCall; ++i) {
      Outgoing& frame = out_[i];
      const iovec both[2] = {{&frame.header, sizeof frame.header},
                             {const_cast<uint8_t*>(frame.payload), frame.header.length}};
      for (const iovec& part : both) {
        size_t cut = std::min(skip, part.iov_len);
        skip -= cut;
        if (cut == part.iov_len) continue;
        parts[count++] = {static_cast<uint8_t*>(part.iov_base) + cut, part.iov_len - cut};
      }
    }
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = count;
    ssize_t got = sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return {};
    if (got < 0) return broken("sending", errno);
    *moved = true;
    budget -= std::min(budget, static_cast<size_t>(got));
    sent_ += static_cast<size_t>(got);
    while (!out_.empty() && sent_ >= sizeof(FrameHeader) + out_.front().header.length) {
      sent_ -= sizeof(FrameHeader) + out_.front().header.length;
      out_.pop_front();
    }
  }
  return {};
}

// Payload that has a place goes there at once. All else comes through the inbox, many small frames
// in one call; behind a large one only the next header, lest the payload of that be copied.
Status TcpLink::receive(bool* moved) {
  for (size_t budget = kBudgetBytes; budget != 0;) {
    bool inPayload = headerBytes_ == sizeof in_;
    size_t rest = inPayload ? in_.length - payloadBytes_ : sizeof in_ - headerBytes_;
    bool direct = inPayload && target_ != nullptr;
    // What has no place must not run past its own end.
    bool exact = direct || inPayload || in_.length >= kInboxBytes;
    uint8_t* to = direct ? target_ + payloadBytes_ : inbox_.get();
    size_t most = direct ? rest : exact ? std::min(rest, kInboxBytes) : kInboxBytes;
    ssize_t got = recv(fd_.get(), to, most, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return {};
    if (got < 0) return broken("receiving", errno);
    if (got == 0) return broken("receiving", 0);
    *moved = true;
    auto bytes = static_cast<size_t>(got);
    budget -= std::min(budget, bytes);
    if (!direct) {
      FLEXLINK_TRY(take(inbox_.get(), bytes));
    } else if ((payloadBytes_ += bytes) == in_.length) {
      endFrame();
    }
    if (bytes < most) return {};  // no more is there
  }
  return {};
}

Status TcpLink::take(const uint8_t* bytes, size_t count) {
  while (count != 0) {
    size_t part;
    if (headerBytes_ < sizeof in_) {
      part = std::min(count, sizeof in_ - headerBytes_);
      memcpy(reinterpret_cast<uint8_t*>(&in_) + headerBytes_, bytes, part);
      headerBytes_ += part;
      if (headerBytes_ == sizeof in_) FLEXLINK_TRY(beginFrame());
    } else {
      part = std::min<size_t>(count, in_.length - payloadBytes_);
      if (target_ != nullptr) memcpy(target_ + payloadBytes_, bytes, part);
      payloadBytes_ += part;
      if (payloadBytes_ == in_.length) endFrame();
    }
    bytes += part;
    count -= part;
  }
  return {};
}

Status TcpLink::beginFrame() {
  if (!isSane(in_)) {
    return makeStatus(Code::kRemote, "link %s: what arrives is not FlexLink's wire version %d",
                      name_.c_str(), kWireVersion);
  }
  payloadBytes_ = 0;
  target_ = in_.length == 0 ? nullptr : events_.place(in_);
  if (in_.length == 0) endFrame();
  return {};
}

void TcpLink::endFrame() {
  headerBytes_ = payloadBytes_ = 0;
  target_ = nullptr;
  events_.arrived(in_);
}

void TcpLink::keepOff(const void* begin, size_t bytes) {
  if (headerBytes_ == sizeof in_ && target_ != nullptr &&
      overlaps(target_, in_.length, begin, bytes)) {
    target_ = nullptr;
  }
  for (Outgoing& frame : out_) {
    if (!frame.own.empty() || !overlaps(frame.payload, frame.header.length, begin, bytes)) continue;
    frame.own.assign(frame.payload, frame.payload + frame.header.length);
    frame.payload = frame.own.data();
  }
}

// A socket that is closed with bytes unread throws away what it has not sent yet.
bool TcpLink::delivered() const {
  int queued = 0;
  return out_.empty() && (ioctl(fd_.get(), SIOCOUTQ, &queued) != 0 || queued == 0);
}

void TcpLink::quiesce() {
  fd_ = Fd();
  out_.clear();
  target_ = nullptr;
}

}  // namespace flexlink
