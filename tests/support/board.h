// SPDX-License-Identifier: Apache-2.0
// The shared memory between a test and its ranks, whichever processes they live in: flags, barrier,
// unique ids, failure texts, values. Plain data and futexes; no FlexLink call, no GoogleTest.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "flexlink/nccl.h"

namespace ranktest {

inline constexpr int kMaxRanks = 16;
inline constexpr int kMaxFlags = 128;
inline constexpr int kMaxIds = 32;
inline constexpr int kMaxValues = 512;

enum class RankState : uint32_t { kNotStarted = 0, kRunning, kPassed, kFailed };

// One writer: the rank's thread. Readers: the supervisor, and other ranks for `state`.
struct RankSlot {
  std::atomic<RankState> state;
  std::atomic<int32_t> pid;
  char where[256];     // the last place that the rank announced; may be torn, is only printed
  char failure[4096];  // complete once state is kFailed
  std::atomic<uint32_t> nValues;
  uint64_t values[kMaxValues];
};

struct Board {
  std::atomic<uint32_t> flags[kMaxFlags];  // 0 = not set; waiters sleep on the word itself
  std::atomic<uint32_t> idReady[kMaxIds];
  ncclUniqueId ids[kMaxIds];
  std::atomic<uint32_t> arrived;  // barrier: ranks in this round
  std::atomic<uint32_t> round;    // barrier: waiters sleep on it
  std::atomic<uint32_t> failed;   // ranks that failed: barriers and waits give up
  RankSlot slots[kMaxRanks];
};

static_assert(std::atomic<uint32_t>::is_always_lock_free);

// A zeroed board in a memfd that children inherit. Returns the descriptor or -1.
int createBoard();
// Maps a board; nullptr when that fails. Unmapped by unmapBoard.
Board* mapBoard(int fd);
void unmapBoard(Board* board);

void setFlag(std::atomic<uint32_t>& word, uint32_t value);

// Sleeps until `word` differs from `from`, until `stop` (may be null) is not 0, or until `seconds`
// have passed. Returns the value of the word; `from` means that it did not change.
uint32_t waitChange(std::atomic<uint32_t>& word, uint32_t from, double seconds,
                    const std::atomic<uint32_t>* stop);

double nowSeconds();  // monotonic

}  // namespace ranktest
