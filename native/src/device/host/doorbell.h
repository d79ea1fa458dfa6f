// SPDX-License-Identifier: Apache-2.0
// How a thread that sleeps is woken by another process: one futex word for each process, in memory
// that its peers map. Whoever publishes something rings; ringing costs one load while nobody
// sleeps.
#pragma once

#include <atomic>
#include <cstdint>

namespace flexlink {

// Lives at the start of a process's wake region; shared between processes.
//
// No wake-up is lost: a sleeper announces itself (seq_cst) and then looks once more at what it
// waits for; a publisher publishes with a seq_cst exchange and then looks for sleepers. One of the
// two sees the other.
struct Doorbell {
  alignas(64) std::atomic<uint32_t> sleepers;  // pairs with ring()'s load
  alignas(64) std::atomic<uint32_t> word;  // the futex: grows with every ring that found a sleeper

  // Call after a seq_cst store of what was published.
  void ring() {
    if (sleepers.load(std::memory_order_seq_cst) != 0) wakeAll();
  }
  void wakeAll();

  // `nothingYet` is called after this thread has announced itself: when it still finds nothing, the
  // thread sleeps until a ring or for at most nanos.
  template <typename NothingYet>
  void sleep(int64_t nanos, NothingYet&& nothingYet) {
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // the last look comes after; see ring()
    uint32_t seen = word.load(std::memory_order_acquire);
    if (nothingYet()) futexWait(seen, nanos);
    sleepers.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  void futexWait(uint32_t seen, int64_t nanos);
};
static_assert(sizeof(Doorbell) == 128);

}  // namespace flexlink
