// SPDX-License-Identifier: Apache-2.0
// That a lane was aborted, and why: left by any thread, found by the one that polls.
#pragma once

#include <atomic>
#include <mutex>

#include "base/status.h"

namespace flexlink {

class AbortNote {
 public:
  // Any thread. The first reason stays.
  void keep(const Status& reason) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (reason_.ok()) reason_ = reason;
  }

  // Any thread, after keep(): all is done that must be before poll() fails.
  void show() { shown_.store(true, std::memory_order_release); }

  // For poll(): true once it is shown; *failure becomes the reason, unless it has one.
  bool ends(Status* failure) const {
    if (!shown_.load(std::memory_order_acquire)) return false;
    std::lock_guard<std::mutex> lock(mutex_);
    if (failure->ok()) *failure = reason_;
    return true;
  }

 private:
  std::atomic<bool> shown_{false};  // release in show(), acquire in ends()
  mutable std::mutex mutex_;        // guards reason_; a leaf lock
  Status reason_;
};

}  // namespace flexlink
