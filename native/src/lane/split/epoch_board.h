// SPDX-License-Identifier: Apache-2.0
// What the thread that drives a split lane and the control thread, which talks with the other
// ranks, share.
#pragma once

#include <functional>
#include <mutex>

#include "balance/epochs.h"
#include "base/status.h"

namespace flexlink {

struct EpochBoard {
  EpochBoard(int rank, int lanes, std::optional<Weights> fixed) : epochs(rank, lanes, fixed) {}

  std::mutex mutex;  // guards all of this; a leaf lock
  Epochs epochs;
  bool awake = false;          // the control thread looks at `epochs` by itself, soon
  std::function<void()> wake;  // makes it do so; set while ranks can agree
  Status broken;               // not ok: which weights others use cannot be known any more
};

}  // namespace flexlink
