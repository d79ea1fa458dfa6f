// SPDX-License-Identifier: Apache-2.0
#include "link/tcp/handshake.h"

#include <linux/sockios.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <algorithm>

#include "link/test_bytes.h"

namespace flexlink {

Handshake::Handshake(Fd fd, const SocketAddress& remote, const ProcessId& self,
                     const ProcessId& peer, const Cookie& theirs, LinkPlace place)
    : fd_(std::move(fd)),
      remote_(remote),
      self_(self),
      peer_(peer),
      cookie_(theirs),
      place_(place),
      dials_(true),
      stage_(Stage::kConnecting) {}

Handshake::Handshake(Fd fd, const ProcessId& self, const Cookie& own)
    : fd_(std::move(fd)), self_(self), cookie_(own), dials_(false), stage_(Stage::kHello) {}

uint32_t Handshake::events() const {
  if (stage_ == Stage::kConnecting) return EPOLLOUT;
  return out_.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT;
}

Status Handshake::step() {
  if (stage_ == Stage::kConnecting) {
    FLEXLINK_TRY(connectResult(fd_.get()));
    stage_ = Stage::kHello;
    say(Greeting::kHello, 0);
    sayTest();
  }
  flush();
  while (stage_ != Stage::kOver) {
    FLEXLINK_TRY(stage_ == Stage::kTest ? readTest() : readGreeting());
  }
  return {};
}

// The hello goes by itself, in a packet that passes everywhere: then it is known what does not.
void Handshake::say(Greeting::Word word, uint32_t number) {
  Greeting greeting;
  greeting.cookie = cookie_;
  greeting.from = self_;
  greeting.word = word;
  greeting.index = place_.number;
  greeting.round = place_.round;
  greeting.number = number;
  const auto* bytes = reinterpret_cast<const uint8_t*>(&greeting);
  out_.insert(out_.end(), bytes, bytes + sizeof greeting);
  flush();
}

void Handshake::sayTest() {
  test_ = testBytes(self_, peer_, place_);
  out_.insert(out_.end(), test_.begin(), test_.end());
  test_ = testBytes(peer_, self_, place_);  // from now on: what is to come
  flush();
}

// That the connection has ended is seen by reading, with what the peer has said before.
void Handshake::flush() {
  while (!out_.empty()) {
    Result<size_t> sent = sendSome(fd_.get(), out_.data(), out_.size());
    if (!sent.ok()) return;
    out_.erase(out_.begin(), out_.begin() + static_cast<ptrdiff_t>(sent.value()));
  }
}

bool Handshake::sayLast(Greeting::Word word, uint32_t links) {
  say(word, links);
  return out_.empty();
}

// The rest of `bytes`; how many of them are there is in have_.
Status Handshake::read(void* into, size_t bytes) {
  while (have_ < bytes) {
    Result<size_t> got = recvSome(fd_.get(), static_cast<uint8_t*>(into) + have_, bytes - have_);
    if (!got.ok() && got.status().code() == Code::kInProgress) return got.status();
    if (wrongAt_ < kTestBytes) FLEXLINK_TRY(got.ok() && got.value() != 0 ? Status() : wrong());
    if (!got.ok()) return got.status();
    if (got.value() == 0)
      return makeStatus(Code::kRemote, "the peer has closed the connection after %zu test bytes",
                        stage_ == Stage::kTest   ? have_
                        : stage_ == Stage::kLast ? kTestBytes
                                                 : 0);
    have_ += got.value();
  }
  have_ = 0;
  return {};
}

// To its end even when it is wrong: what nobody has read would take the verdict with it.
Status Handshake::readTest() {
  std::vector<uint8_t> got(kTestBytes);
  size_t begin = have_;
  Status status = read(got.data(), kTestBytes);
  size_t end = status.ok() ? kTestBytes : have_;
  auto differ = std::mismatch(got.begin() + static_cast<ptrdiff_t>(begin),
                              got.begin() + static_cast<ptrdiff_t>(end),
                              test_.begin() + static_cast<ptrdiff_t>(begin));
  auto at = static_cast<size_t>(differ.first - got.begin());
  if (at < end) wrongAt_ = std::min(wrongAt_, at);
  FLEXLINK_TRY(status);
  stage_ = Stage::kLast;
  if (!dials_) {
    bool good = wrongAt_ == kTestBytes;
    say(good ? Greeting::kGood : Greeting::kBad, static_cast<uint32_t>(wrongAt_));
  }
  return {};
}

Status Handshake::readGreeting() {
  FLEXLINK_TRY(read(&heard_, sizeof heard_));
  if (!fits()) return makeStatus(Code::kRemote, "the peer does not answer as FlexLink");
  return stage_ == Stage::kHello ? helloHeard() : lastHeard();
}

// Who calls and for which link, the callee learns from the first greeting; all others say the same.
bool Handshake::fits() const {
  if (heard_.magic != Greeting::kMagic || heard_.version != kWireVersion) return false;
  if (heard_.cookie != cookie_) return false;
  if (stage_ == Stage::kHello && !dials_) return heard_.word == Greeting::kHello;
  return heard_.from == peer_ && heard_.index == place_.number && heard_.round == place_.round &&
         (heard_.word == Greeting::kHello) == (stage_ == Stage::kHello);
}

Status Handshake::helloHeard() {
  stage_ = Stage::kTest;
  if (dials_) return {};
  peer_ = heard_.from;
  place_ = {heard_.index, heard_.round};
  say(Greeting::kHello, 0);
  sayTest();
  return {};
}

Status Handshake::lastHeard() {
  if (wrongAt_ < kTestBytes) {
    if (dials_) say(Greeting::kBad, static_cast<uint32_t>(wrongAt_));
    return wrong();
  }
  if (heard_.word == Greeting::kBad)
    return makeStatus(Code::kRemote, "test bytes came to the peer wrong, from byte %u of %zu on",
                      heard_.number, kTestBytes);
  bool good = dials_ ? heard_.word == Greeting::kGood
                     : heard_.word == Greeting::kGo || heard_.word == Greeting::kAgain;
  if (!good) return makeStatus(Code::kRemote, "the peer does not answer as FlexLink");
  stage_ = Stage::kOver;
  return {};
}

Status Handshake::wrong() const {
  return makeStatus(Code::kRemote, "test bytes came wrong, from byte %zu of %zu on", wrongAt_,
                    kTestBytes);
}

// As far as this host's kernel knows.
size_t Handshake::arrivedThere() const {
  int queued = 0;
  if (ioctl(fd_.get(), SIOCOUTQ, &queued) != 0) queued = 0;
  size_t left = out_.size() + static_cast<size_t>(std::max(queued, 0));
  return kTestBytes - std::min(left, kTestBytes);
}

Status Handshake::late(int64_t nanos) const {
  auto millis = static_cast<long long>(nanos / 1'000'000);
  if (stage_ == Stage::kConnecting || (dials_ && stage_ == Stage::kHello))
    return makeStatus(Code::kRemote, "no answer of %s in %lld ms", remote_.text().c_str(), millis);
  size_t came = stage_ < Stage::kTest ? 0 : stage_ == Stage::kTest ? have_ : kTestBytes;
  size_t there = arrivedThere();
  return makeStatus(Code::kRemote, "in %lld ms %zu of %zu test bytes came, %zu arrived there%s",
                    millis, came, kTestBytes, there,
                    came == 0 || there == 0 ? ": large packets lost (MTU)?" : "");
}

}  // namespace flexlink
