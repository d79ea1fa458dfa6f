// SPDX-License-Identifier: Apache-2.0
// The plugin's one thread: runs what must follow when a piece of work is finished and nobody waits
// for it (futures, messages whose header has come). It starts with the first such case.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

#include "communicator.h"

namespace flexlink::pytorch {

class Finisher {
 public:
  static Finisher& instance();

  // Runs `what` on the thread, once, soon after the ticket is finished or has failed.
  void whenFinished(const Ticket& ticket, std::function<void()> what);

 private:
  Finisher();
  void push(std::function<void()> what);
  void loop();

  std::mutex mutex_;  // guards ready_; a leaf lock
  std::condition_variable some_;
  std::deque<std::function<void()>> ready_;
};

}  // namespace flexlink::pytorch
