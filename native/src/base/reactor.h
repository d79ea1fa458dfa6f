// SPDX-License-Identifier: Apache-2.0
// The process's control thread: one epoll loop for everything that is not data (rendezvous, memory
// exchange, death of peers, deadlines). Made on first use, never at load; it never ends, and a
// process that exits does not wait for it. Data never passes through it.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/fd.h"
#include "base/status.h"

namespace flexlink {

class Reactor {
 public:
  using Task = std::function<void()>;
  using FdHandler = std::function<void(uint32_t events)>;
  using TimerId = uint64_t;

  // The one of this process; starts the thread. An error when the kernel refuses epoll or a thread.
  static Result<Reactor*> instance();

  // Runs task on the control thread, soon. Any thread.
  void post(Task task);

  // Runs task on the control thread and waits for it. Any thread but the control thread.
  void postAndWait(Task task);

  // The rest is for the control thread only.
  Status watch(int fd, uint32_t events, FdHandler handler);
  void rewatch(int fd, uint32_t events);
  void unwatch(int fd);
  TimerId after(int64_t nanos, Task task);
  void cancel(TimerId id);

 private:
  Reactor() = default;
  Status start();
  void loop();
  void runPosted();
  int runTimers();  // returns milliseconds until the next one, -1 for none

  Fd epoll_;
  Fd wake_;           // eventfd: another thread has posted
  std::mutex mutex_;  // guards posted_; held for a push or a swap only
  std::vector<Task> posted_;
  // Control thread only. A handler may unwatch any fd, also its own: events of a generation that is
  // over are dropped.
  struct Watched {
    uint64_t generation;
    std::shared_ptr<FdHandler> handler;  // shared: it may remove itself while it runs
  };
  std::unordered_map<int, Watched> watched_;
  uint64_t nextGeneration_ = 1;
  std::map<std::pair<int64_t, TimerId>, Task> timers_;
  std::unordered_map<TimerId, int64_t> timerTimes_;
  TimerId nextTimer_ = 1;
};

}  // namespace flexlink
