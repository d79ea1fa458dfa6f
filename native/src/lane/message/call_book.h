// SPDX-License-Identifier: Apache-2.0
// Do all ranks mean the same call by the same number? Every message tells how its sender made the
// call; the book compares that with this rank's own call, whichever of the two comes first.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include "base/status.h"

namespace flexlink {

class CallBook {
 public:
  // A collective by its number; a message by its number among those from one rank to another.
  struct Which {
    uint64_t seq = 0;
    int from = -1;
    int to = -1;
    bool operator<(const Which& other) const {
      return std::tie(from, to, seq) < std::tie(other.from, other.to, other.seq);
    }
  };
  struct Said {
    uint64_t signature = 0;  // packSignature()
    uint64_t count = 0;
    int rank = -1;        // who says it, as people know him
    uint64_t number = 0;  // of the call, for people
    bool sends = false;   // of a message of this rank
  };

  // Any thread, each of these.
  void mine(const Which& which, const Said& said);
  void theirs(const Which& which, const Said& said);

  // This rank is through with these messages; those to come have higher numbers.
  void messagesDone(const std::vector<Which>& messages);

  bool differs() const { return differs_.load(std::memory_order_acquire); }
  Status difference() const;  // the first one; ok while there is none

 private:
  void compare(const Said& mine, const Said& theirs);

  mutable std::mutex mutex_;  // guards what follows; a leaf lock
  std::map<Which, Said> mine_;
  std::map<Which, Said> ahead_;                    // of peers, where this rank has not come to yet
  std::map<std::pair<int, int>, uint64_t> begun_;  // by from and to: highest number of mine
  Status difference_;
  std::atomic<bool> differs_{false};  // release with difference_, acquire in differs()
};

}  // namespace flexlink
