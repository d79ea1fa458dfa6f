// SPDX-License-Identifier: Apache-2.0
// The participant's side; the door is door.cc.
#include "comm/rendezvous.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/reactor.h"
#include "comm/frame.h"
#include "comm/wire.h"

namespace flexlink {

struct Participant::Impl {
  Reactor* reactor = nullptr;
  Meeting meeting;
  std::string firstBlob;
  MeetingRound heard;
  std::unique_ptr<FrameStream> stream;
  Fd connecting;
  uint32_t round = 0;
  Reactor::TimerId retryTimer = 0;
  Reactor::TimerId deadlineTimer = 0;
  int64_t firstTrouble = 0;  // nowNanos() scale; 0: none yet
  std::string lastTrouble = "nobody listens there yet";
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);  // handlers look before they touch us

  static constexpr int64_t kRetryNanos = 20'000'000;
  static constexpr int64_t kGoneNanos = 1'000'000'000;  // a door that was open and stays shut

  void connect();
  void connected();
  void retry(const std::string& trouble);
  void fail(const Status& status);
  void onEvents(uint32_t events);
  void onMessage(const std::string& message);
  void update();
  void stop();
};

Participant::Participant(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Participant::~Participant() { leave(); }

std::shared_ptr<Participant> Participant::join(const Meeting& meeting, std::string first,
                                               MeetingRound heard) {
  auto impl = std::make_unique<Impl>();
  impl->reactor = Reactor::instance().value();  // runs: we are on its thread
  impl->meeting = meeting;
  impl->firstBlob = std::move(first);
  impl->heard = std::move(heard);
  Impl* raw = impl.get();
  auto self = std::shared_ptr<Participant>(new Participant(std::move(impl)));
  if (meeting.deadlineNanos != 0) {
    raw->deadlineTimer = raw->reactor->after(meeting.deadlineNanos - nowNanos(), [raw] {
      raw->deadlineTimer = 0;
      raw->fail(makeStatus(Code::kTimeout,
                           "rank %u of %u gave up on the meeting at %s: %s; FLEXLINK_INIT_TIMEOUT "
                           "sets how long it waits",
                           raw->meeting.index, raw->meeting.size,
                           raw->meeting.address.text().c_str(), raw->lastTrouble.c_str()));
    });
  }
  raw->connect();
  return self;
}

void Participant::Impl::connect() {
  Result<Fd> fd = connectTcpStart(meeting.address);
  if (!fd.ok()) return retry(fd.status().text());
  connecting = std::move(fd.value());
  auto guard = alive;
  Status status = reactor->watch(connecting.get(), EPOLLOUT, [this, guard](uint32_t) {
    if (*guard) connected();
  });
  if (!status.ok()) fail(status);
}

void Participant::Impl::connected() {
  Status status = connectResult(connecting.get(), meeting.address);
  if (status.code() == Code::kInProgress) return;
  reactor->unwatch(connecting.get());
  if (!status.ok()) {
    connecting.reset();
    return retry(status.text());
  }
  lastTrouble = "connected, but not all ranks have come";
  stream = std::make_unique<FrameStream>(std::move(connecting), wire::kMaxTableBytes);
  stream->queue(wire::packHello(meeting, firstBlob));
  auto guard = alive;
  status = reactor->watch(stream->fd(), EPOLLIN | EPOLLOUT, [this, guard](uint32_t events) {
    if (*guard) onEvents(events);
  });
  if (!status.ok()) fail(status);
}

void Participant::Impl::retry(const std::string& trouble) {
  lastTrouble = trouble;
  if (firstTrouble == 0) firstTrouble = nowNanos();
  if (!meeting.mayOpenLate && nowNanos() - firstTrouble > kGoneNanos) {
    return fail(makeStatus(Code::kRemote, "the process at %s that gathers the ranks is gone: %s",
                           meeting.address.text().c_str(), trouble.c_str()));
  }
  auto guard = alive;
  retryTimer = reactor->after(kRetryNanos, [this, guard] {
    if (!*guard) return;
    retryTimer = 0;
    connect();
  });
}

void Participant::Impl::onEvents(uint32_t) {
  auto guard = alive;
  std::vector<std::string> messages;
  Status received = stream->receive(&messages);
  for (const std::string& message : messages) {
    onMessage(message);
    if (!*guard) return;
  }
  if (!received.ok()) {
    return fail(makeStatus(Code::kRemote, "the meeting at %s broke off: %s",
                           meeting.address.text().c_str(), received.text()));
  }
  update();
}

void Participant::Impl::onMessage(const std::string& message) {
  Result<std::vector<std::string>> blobs = wire::unpackRound(message);
  if (blobs.ok() && blobs.value().size() != meeting.size) {
    blobs = makeStatus(Code::kInternal, "the meeting sent %zu blobs for %u ranks",
                       blobs.value().size(), meeting.size);
  }
  if (!blobs.ok()) return fail(blobs.status());
  MeetingRound told = heard;  // it may drop us
  told(round++, std::move(blobs));
}

void Participant::Impl::update() {
  Status status = stream->flush();
  if (!status.ok()) return fail(status);
  reactor->rewatch(stream->fd(), stream->wantsToSend() ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void Participant::Impl::fail(const Status& status) {
  MeetingRound told = std::move(heard);
  stop();
  if (told) told(round, status);
}

void Participant::Impl::stop() {
  *alive = false;
  alive = std::make_shared<bool>(false);
  heard = nullptr;
  if (retryTimer != 0) reactor->cancel(retryTimer);
  if (deadlineTimer != 0) reactor->cancel(deadlineTimer);
  retryTimer = deadlineTimer = 0;
  if (connecting.get() >= 0) reactor->unwatch(connecting.get());
  if (stream) reactor->unwatch(stream->fd());
  connecting.reset();
  stream.reset();
}

void Participant::say(std::string blob) {
  if (!impl_->stream) return;
  impl_->stream->queue(blob);
  impl_->update();
}

void Participant::leave() { impl_->stop(); }

}  // namespace flexlink
