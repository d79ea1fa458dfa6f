// SPDX-License-Identifier: Apache-2.0
#include "engine/fd_bell.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "base/reactor.h"
#include "device/host/exchange.h"

namespace flexlink {
namespace {

void control(int set, int operation, int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  (void)epoll_ctl(set, operation, fd, &event);
}

}  // namespace

FdBell* FdBell::instance() {
  static FdBell* const bell = []() -> FdBell* {
    auto fresh = std::make_unique<FdBell>();  // never destroyed: the control thread uses it
    Status status = fresh->start();
    if (status.ok()) return fresh.release();
    FLEXLINK_WARN("sockets do not wake waiting threads: %s", status.text());
    return nullptr;
  }();
  return bell;
}

Status FdBell::start() {
  FLEXLINK_TRY_ASSIGN([[maybe_unused]] const ProcessCard* card, myProcessCard());  // the doorbell
  bell_ = &myDoorbell();
  FLEXLINK_TRY_ASSIGN(Reactor * reactor, Reactor::instance());
  set_ = Fd(epoll_create1(EPOLL_CLOEXEC));
  if (set_.get() < 0) return makeStatus(Code::kSystem, "epoll_create1: %s", strerror(errno));
  reactor->post([this, reactor] {
    Status status = reactor->watch(set_.get(), EPOLLIN, [this](uint32_t) { onReady(); });
    if (!status.ok()) FLEXLINK_WARN("sockets do not wake waiting threads: %s", status.text());
  });
  return {};
}

void FdBell::add(int fd) { control(set_.get(), EPOLL_CTL_ADD, fd, EPOLLONESHOT); }

void FdBell::arm(int fd, bool toSend) {
  uint32_t events = EPOLLIN | EPOLLONESHOT;
  control(set_.get(), EPOLL_CTL_MOD, fd, toSend ? events | EPOLLOUT : events);
}

// What is taken from the set here stays silent until it is armed again.
void FdBell::onReady() {
  epoll_event events[64];
  while (epoll_wait(set_.get(), events, 64, 0) == 64) {
  }
  bell_->ring();
}

}  // namespace flexlink
