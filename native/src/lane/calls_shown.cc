// SPDX-License-Identifier: Apache-2.0
#include "lane/calls_shown.h"

#include <algorithm>

namespace flexlink {

void CallsShown::show(const Begun& begun) {
  const Call& first = begun.calls->front();
  probe_->show(first.seq, probeCall(first, bytesOf(first)), begun.since, lane_);
  probe_->phase(ProbePhase::kMoving, lane_);
}

size_t CallsShown::endEach(const std::vector<Call>& calls, uint64_t since, bool whole) {
  size_t sum = 0;
  for (const Call& call : calls) {
    ended(call, since, whole);
    sum += bytesOf(call);
  }
  return sum;
}

// While others are at hand.
void CallsShown::restAmong(const std::vector<Call>& calls) {
  auto found = std::find_if(begun_.begin(), begun_.end(),
                            [&](const Begun& one) { return one.calls == &calls; });
  const bool shown = found == begun_.begin();
  probe_->busy(found->since, endedAt_, lane_);
  begun_.erase(found);
  if (!shown) return;
  probe_->waitsNoMore(lane_);
  show(begun_.front());
}

}  // namespace flexlink
