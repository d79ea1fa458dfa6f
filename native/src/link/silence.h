// SPDX-License-Identifier: Apache-2.0
// For how long the other end of a link has owed an answer: what kernels or NICs say of each other,
// whatever the processes behind them do. Pure: it is told times, it takes none.
#pragma once

#include <algorithm>
#include <cstdint>

namespace flexlink {

// What this host's kernel or NIC knows of the other end. Where it knows nothing: the defaults.
struct LinkPulse {
  bool owed = false;           // something was sent that the other host has not acknowledged
  uint64_t delivered = 0;      // bytes that it has acknowledged
  int64_t heardNanos = -1;     // ago: the last sign of life of it; -1: not known
  int64_t roundTripNanos = 0;  // to it and back, the shortest of the last minutes; 0: not known
};

class Silence {
 public:
  // Now and then, as often as one pleases. Times are ns of one clock.
  void look(int64_t now, const LinkPulse& pulse) {
    if (pulse.heardNanos >= 0) heardAt_ = std::max(heardAt_, now - pulse.heardNanos);
    // Owed is counted from the first look that found what is owed still: between two looks all may
    // have been acknowledged, and something else sent.
    if (!pulse.owed) {
      owedSince_ = kNever;
    } else if (owedSince_ == kNever || pulse.delivered != delivered_) {
      owedSince_ = now;
    }
    delivered_ = pulse.delivered;
  }

  // As of the last look: how long the other host has owed an answer; 0: it owes none.
  int64_t ofHost(int64_t now) const {
    return owedSince_ == kNever ? 0 : std::max<int64_t>(now - std::max(owedSince_, heardAt_), 0);
  }

  int64_t heardAt() const { return heardAt_; }  // the last sign of life; 0: none is known

 private:
  static constexpr int64_t kNever = -1;
  int64_t heardAt_ = 0;
  int64_t owedSince_ = kNever;
  uint64_t delivered_ = 0;
};

}  // namespace flexlink
