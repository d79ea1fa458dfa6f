// SPDX-License-Identifier: Apache-2.0
#include "base/reactor.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <condition_variable>

#include "base/clock.h"
#include "base/thread.h"

namespace flexlink {

Result<Reactor*> Reactor::instance() {
  static std::mutex mutex;            // guards the first start only
  static Reactor* reactor = nullptr;  // never destroyed: exit must not wait for the thread
  std::lock_guard<std::mutex> lock(mutex);
  if (reactor == nullptr) {
    auto fresh = std::unique_ptr<Reactor>(new Reactor);
    FLEXLINK_TRY(fresh->start());
    reactor = fresh.release();
  }
  return reactor;
}

Status Reactor::start() {
  epoll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
  wake_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (epoll_.get() < 0 || wake_.get() < 0) {
    return makeStatus(Code::kSystem,
                      "cannot make the control thread's epoll: %s; raise the limit of "
                      "open files (ulimit -n)",
                      strerror(errno));
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wake_.get();
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
  return startThread("flexlink-ctl", "the control thread", [this] { loop(); });
}

void Reactor::post(Task task) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    posted_.push_back(std::move(task));
  }
  uint64_t one = 1;
  [[maybe_unused]] ssize_t written = write(wake_.get(), &one, sizeof one);
}

void Reactor::postAndWait(Task task) {
  std::mutex mutex;
  std::condition_variable done;
  bool finished = false;
  post([&] {
    task();
    std::lock_guard<std::mutex> lock(mutex);
    finished = true;
    done.notify_one();
  });
  std::unique_lock<std::mutex> lock(mutex);
  done.wait(lock, [&] { return finished; });
}

Status Reactor::watch(int fd, uint32_t events, FdHandler handler) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return makeStatus(Code::kSystem, "epoll_ctl: %s", strerror(errno));
  }
  watched_[fd] = {nextGeneration_++, std::make_shared<FdHandler>(std::move(handler))};
  return {};
}

void Reactor::rewatch(int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void Reactor::unwatch(int fd) {
  if (watched_.erase(fd) != 0) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

Reactor::TimerId Reactor::after(int64_t nanos, Task task) {
  TimerId id = nextTimer_++;
  int64_t at = nowNanos() + nanos;
  timers_[{at, id}] = std::move(task);
  timerTimes_[id] = at;
  return id;
}

void Reactor::cancel(TimerId id) {
  auto found = timerTimes_.find(id);
  if (found == timerTimes_.end()) return;
  timers_.erase({found->second, id});
  timerTimes_.erase(found);
}

void Reactor::runPosted() {
  std::vector<Task> tasks;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    tasks.swap(posted_);
  }
  for (Task& task : tasks) task();
}

int Reactor::runTimers() {
  int64_t now = nowNanos();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    Task task = std::move(timers_.begin()->second);
    timerTimes_.erase(timers_.begin()->first.second);
    timers_.erase(timers_.begin());
    task();
  }
  if (timers_.empty()) return -1;
  return static_cast<int>((timers_.begin()->first.first - now) / 1000000 + 1);
}

void Reactor::loop() {
  for (;;) {
    epoll_event events[64];
    int count = epoll_wait(epoll_.get(), events, 64, runTimers());
    uint64_t newest = nextGeneration_;
    for (int i = 0; i < count; ++i) {
      int fd = events[i].data.fd;
      if (fd == wake_.get()) {
        uint64_t drained;
        [[maybe_unused]] ssize_t got = read(fd, &drained, sizeof drained);
        continue;
      }
      auto found = watched_.find(fd);
      if (found == watched_.end() || found->second.generation >= newest) continue;
      std::shared_ptr<FdHandler> handler = found->second.handler;
      (*handler)(events[i].events);
    }
    runPosted();
  }
}

}  // namespace flexlink
