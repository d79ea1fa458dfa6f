// SPDX-License-Identifier: Apache-2.0
// One wait of one thread: spin, then yield, then sleep at the doorbell. Which is best depends on
// whether every waiting thread has a core of its own.
#pragma once

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

#include "base/clock.h"
#include "device/host/doorbell.h"
#include "engine/fd_bell.h"

namespace flexlink {

inline void cpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

struct WaitPolicy {
  int freeSpins;       // polls before the clock is asked for the first time
  int64_t spinNanos;   // then yield
  int64_t yieldNanos;  // counted from the start of the wait; then sleep
  static constexpr int64_t kSleepNanos = 100'000'000;  // between two looks at deadlines
};

// A core for each: a hand-over through a cache line takes 0.1 us, through a futex some 20 us, so
// spinning for a few futex times is the price of one. More threads than cores: whoever spins keeps
// the one that it waits for from running; a yield hands over in about 1 us (reference figures in
// perf/README.md).
WaitPolicy waitPolicy(bool oversubscribed);

class Waiter {
 public:
  explicit Waiter(WaitPolicy policy) : policy_(policy) {}

  // Something was done: the next wait starts anew.
  void moved() {
    rounds_ = 0;
    since_ = 0;
    yields_ = 0;
  }

  // This wait goes on where an earlier one has stopped: at the doorbell.
  void goOn() {
    since_ = nowNanos() - policy_.yieldNanos;
    lastLook_ = since_;
    yields_ = kYieldsBeforeLook + 1;
  }

  // Is it time for a slow look around (dead peers, deadlines)? About every 50 us of waiting.
  bool lookDue() const { return look_; }

  int64_t sinceNanos() const { return since_; }

  // Call when a poll found nothing. `nothingYet` polls again; used only before sleeping, which
  // takes at most maxSleepNanos.
  template <typename NothingYet>
  void idle(Doorbell& bell, NothingYet&& nothingYet,
            int64_t maxSleepNanos = WaitPolicy::kSleepNanos) {
    look_ = false;
    const bool naps = std::exchange(nobodyRings, false);
    ++rounds_;
    bool mayRest = restUntil != 0 && rounds_ > kRoundsBeforeRest;
    if (since_ == 0 && !mayRest && rounds_ < policy_.freeSpins) return cpuRelax();
    int64_t now = nowNanos();
    if (restUntil <= now) restUntil = 0;
    if (since_ == 0) {
      since_ = now;
      lastLook_ = now;
    }
    look_ = now - lastLook_ > kLookNanos;
    if (look_) lastLook_ = now;
    int64_t waited = now - since_;
    if (naps)
      maxSleepNanos =
          std::min(maxSleepNanos, std::clamp(waited / kNapPart, kNapNanos, kLongestNapNanos));
    if (mayRest && restUntil != 0) {
      bell.sleep(std::min({restUntil - now, kRestNanos, maxSleepNanos}), nothingYet);
    } else if (waited < policy_.spinNanos) {
      for (int i = 0; i < 16; ++i) cpuRelax();
    } else if (yields_ == kYieldsBeforeLook) {
      // Giving the core away may take long: what is known already is looked at before.
      look_ = true;
      ++yields_;
    } else if (waited < policy_.yieldNanos) {
      ++yields_;
      sched_yield();
    } else {
      bell.sleep(maxSleepNanos, [&] {
        LastLook last;
        return nothingYet();
      });
      look_ = true;
    }
  }

 private:
  static constexpr int kYieldsBeforeLook = 2;
  static constexpr int kRoundsBeforeRest = 4;
  static constexpr int64_t kRestNanos = 150'000;
  // A nap adds at most this part to a wait, or the shortest nap.
  static constexpr int64_t kNapPart = 16;
  static constexpr int64_t kNapNanos = 50'000;
  static constexpr int64_t kLongestNapNanos = 20'000'000;
  static constexpr int64_t kLookNanos = 50'000;

  WaitPolicy policy_;
  int rounds_ = 0;
  int64_t since_ = 0;  // ns; 0: the clock was not asked yet
  int64_t lastLook_ = 0;
  bool look_ = false;
  int yields_ = 0;
};

}  // namespace flexlink
