// SPDX-License-Identifier: Apache-2.0
// What the probe shows of calls that progress together on one lane, as those of a batch of messages
// do, and of several such batches at once: it has room for one call. That one is of the batch that
// began first, for who waits longest is who needs an explanation.
#pragma once

#include <cstdint>
#include <vector>

#include "lane/batch.h"
#include "lane/call_text.h"
#include "probe/probe_writer.h"

namespace flexlink {

class CallsShown {
 public:
  // `probe` outlives it.
  CallsShown(ProbeComm* probe, uint8_t lane) : probe_(probe), lane_(lane) {}

  // These calls are taken up; the list stays as it is until rest(). Returns when, in ticks.
  uint64_t begin(const std::vector<Call>& calls);

  // One call of a list that was taken up at `since` is done. whole: no other lane has a part of it.
  void ended(const Call& call, uint64_t since, bool whole = true);

  // All of a list; returns their bytes.
  size_t endEach(const std::vector<Call>& calls, uint64_t since, bool whole = true);

  // The last of this list has just ended.
  void rest(const std::vector<Call>& calls);

 private:
  struct Begun {
    const std::vector<Call>* calls;
    uint64_t since;
  };
  void show(const Begun& begun);
  void restAmong(const std::vector<Call>& calls);

  ProbeComm* const probe_;
  const uint8_t lane_;
  std::vector<Begun> begun_;  // the first is shown
  uint64_t endedAt_ = 0;      // ticks; the last call that has ended
};

inline uint64_t CallsShown::begin(const std::vector<Call>& calls) {
  const uint64_t now = probe_->ticks();
  begun_.push_back({&calls, now});
  if (begun_.size() == 1) show(begun_.front());
  return now;
}

inline void CallsShown::ended(const Call& call, uint64_t since, bool whole) {
  const bool shown = begun_.front().since == since;
  endedAt_ =
      probe_->ended({call.seq, since, shown, whole}, probeCall(call, bytesOf(call)), 0, lane_);
}

inline void CallsShown::rest(const std::vector<Call>& calls) {
  if (begun_.size() != 1) return restAmong(calls);
  probe_->busy(begun_.front().since, endedAt_, lane_);
  probe_->rest(endedAt_, lane_);
  begun_.clear();
}

}  // namespace flexlink
