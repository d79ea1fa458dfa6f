// SPDX-License-Identifier: Apache-2.0
// Runs what must follow when a piece of work is finished and nobody waits for it: futures, messages
// whose header has come. Its threads start with the first such case. What follows may be a callback
// of the user's that waits for a future itself (PowerSGD's does), so there is always one more
// thread than callbacks that run.
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
  static constexpr int kIdle = 2;  // threads that stay

  Finisher() = default;
  void push(std::function<void()> what);
  void addThread();
  void loop();

  std::mutex mutex_;  // guards the rest; a leaf lock
  int idle_ = 0;
  std::condition_variable some_;
  std::deque<std::function<void()>> ready_;
};

}  // namespace flexlink::pytorch
