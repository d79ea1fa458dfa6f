// SPDX-License-Identifier: Apache-2.0
#include "schedule/pattern_choice.h"

#include <cmath>
#include <limits>

namespace flexlink {
namespace {

// One hop of one message: a large one waits for its credit first.
double hop(size_t bytes, const WireCost& cost) {
  return bytes <= cost.eagerBytes ? cost.latency : 2 * cost.latency;
}

double allReduceSeconds(const ScheduleCall& call, Pattern pattern, const WireCost& cost) {
  double n = call.ranks, bytes = static_cast<double>(call.block);
  double wire = bytes / cost.bytesPerSecond, fold = bytes / cost.foldBytesPerSecond;
  size_t shard = shardOf(call.block, call.ranks, 0).size();
  // Each rank sends n-1 shards and its result n-1 times.
  if (pattern == Pattern::kDirect) {
    return 2 * hop(shard, cost) + 2 * (n - 1) / n * wire + fold;
  }
  if (pattern != Pattern::kOneShot) return std::numeric_limits<double>::infinity();
  // In place, whoever folds waits for his own contribution to have arrived.
  double arrives = call.block <= cost.eagerBytes ? 0 : cost.latency;
  return hop(call.block, cost) + arrives + (n - 1) * wire + n * fold;
}

double broadcastSeconds(const ScheduleCall& call, Pattern pattern, const WireCost& cost) {
  double n = call.ranks, bytes = static_cast<double>(call.block);
  double wire = bytes / cost.bytesPerSecond;
  double segment = std::min(bytes, static_cast<double>(cost.segmentBytes)) / cost.bytesPerSecond;
  double rounds = std::ceil(std::log2(n));
  switch (pattern) {
    case Pattern::kDirect:
      return hop(call.block, cost) + (n - 1) * wire;
    case Pattern::kTree:
      // The root sends to `rounds` children; the last rank is as many hops away.
      return rounds * hop(call.block, cost) + rounds * wire;
    case Pattern::kRing:
      return (n - 1) * (hop(call.block, cost) + segment) + wire - segment;
    default:
      return std::numeric_limits<double>::infinity();
  }
}

}  // namespace

double patternSeconds(const ScheduleCall& call, Pattern pattern, const WireCost& cost) {
  if (call.kind == Collective::kAllReduce) return allReduceSeconds(call, pattern, cost);
  if (call.kind == Collective::kBroadcast) return broadcastSeconds(call, pattern, cost);
  return pattern == Pattern::kDirect ? 0 : std::numeric_limits<double>::infinity();
}

bool hasPattern(const ScheduleCall& call, Pattern pattern) {
  return std::isfinite(patternSeconds(call, pattern, WireCost{}));
}

Pattern cheapestPattern(const ScheduleCall& call, const WireCost& cost) {
  Pattern best = Pattern::kDirect;
  if (call.ranks == 1) return best;
  double least = patternSeconds(call, best, cost);
  for (Pattern pattern : {Pattern::kOneShot, Pattern::kTree, Pattern::kRing}) {
    double seconds = patternSeconds(call, pattern, cost);
    if (seconds >= least) continue;
    best = pattern;
    least = seconds;
  }
  return best;
}

}  // namespace flexlink
