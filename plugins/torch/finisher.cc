// SPDX-License-Identifier: Apache-2.0
#include "finisher.h"

#include "thread.h"

namespace flexlink::pytorch {
namespace {

struct Note {
  Ticket ticket;  // keeps the stream
  std::function<void()> what;
};

}  // namespace

// Never destroyed: the thread may be in a callback of Python's when the process ends.
Finisher& Finisher::instance() {
  static Finisher* finisher = new Finisher;
  return *finisher;
}

// With the mutex.
void Finisher::addThread() {
  startThread("flexlink-torch", [this] { loop(); });
  ++idle_;
}

void Finisher::whenFinished(const Ticket& ticket, std::function<void()> what) {
  auto* note = new Note{ticket, std::move(what)};
  // Called by whoever drives the work, perhaps with the library's locks: it only hands over.
  hostLibrary().check(hostLibrary().flexlinkStreamNotify(
                          ticket.stream->handle(), ticket.number,
                          [](void* argument) {
                            auto* due = static_cast<Note*>(argument);
                            instance().push([due] {
                              due->what();
                              delete due;
                            });
                          },
                          note),
                      "flexlinkStreamNotify");
}

void Finisher::push(std::function<void()> what) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ready_.push_back(std::move(what));
    if (idle_ == 0) addThread();
  }
  some_.notify_one();
}

// A thread is counted as idle from its start on. Who takes something leaves another one behind.
void Finisher::loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    some_.wait(lock, [this] { return !ready_.empty(); });
    std::function<void()> what = std::move(ready_.front());
    ready_.pop_front();
    if (--idle_ == 0) addThread();
    lock.unlock();
    what();
    what = nullptr;
    lock.lock();
    if (idle_ == kIdle) return;
    ++idle_;
  }
}

}  // namespace flexlink::pytorch
