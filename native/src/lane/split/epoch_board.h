// SPDX-License-Identifier: Apache-2.0
// What the thread that drives a split lane and the control thread, which talks with the other
// ranks, share.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <span>

#include "balance/epochs.h"
#include "base/status.h"
#include "lane/batch.h"

namespace flexlink {

struct EpochBoard {
  EpochBoard(int rank, int lanes, std::optional<Weights> fixed) : epochs(rank, lanes, fixed) {}

  std::mutex mutex;  // guards all of this; a leaf lock
  Epochs epochs;
  bool awake = false;          // the control thread looks at `epochs` by itself, soon
  std::function<void()> wake;  // makes it do so; set while ranks can agree
  Status broken;               // not ok: which weights others use cannot be known any more
};

// An operation of that class is over: what each lane carried, and when it was through.
inline void tellMeasured(EpochBoard* board, uint16_t operationClass, uint32_t epoch,
                         std::span<const double> bytes, std::span<const double> seconds) {
  std::lock_guard<std::mutex> lock(board->mutex);
  if (board->wake == nullptr) return;
  board->epochs.measured(operationClass, epoch, bytes, seconds);
  if (board->awake) return;
  board->awake = true;
  board->wake();
}

// The slices of the next collective, in bytes of each rank's block; at least one. None: the ranks
// are about to agree, ask again later. *epoch: by which weights they are cut.
inline std::optional<Split> cutNext(EpochBoard* board, const Call& call, uint32_t* epoch) {
  std::lock_guard<std::mutex> lock(board->mutex);
  const Weights* weights = board->epochs.begin(operationClass(call.kind, bytesOf(call)));
  if (weights == nullptr) return {};
  Split slices = split(bytesOf(call), *weights, granularityOf(typeSize(call.type)));
  *epoch = board->epochs.epoch();
  if (slices.count == 0) slices.slices[static_cast<size_t>(slices.count++)] = {};  // no bytes
  return slices;
}

}  // namespace flexlink
