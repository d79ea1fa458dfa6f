// SPDX-License-Identifier: Apache-2.0
// How long bytes take over one path, and how many bytes fit into a time: two formulas and nothing
// else. Pure. Where several paths share something, balance/fit.h puts them together.
#pragma once

#include <algorithm>
#include <vector>

#include "base/types.h"

namespace flexlink {

// What a rank sends over a path in one operation, in `steps` messages that wait for each other.
// A message goes through `stages` copies that overlap chunk by chunk: the last stage begins when
// the first chunk (or the message, if it is smaller) has passed the others.
struct PathModel {
  double rate = 0;     // bytes/s in one direction, of each stage; > 0
  double latency = 0;  // s, of each stage of each step
  double chunk = 0;    // bytes between two stages; 0: they pass each byte on at once
  int stages = 1;
  int steps = 1;
};

// Seconds before the last byte can arrive, however few there are.
inline double startOf(const PathModel& path) { return path.latency * path.stages * path.steps; }

// Bytes of one operation from which on its messages are longer than a chunk.
inline double kneeOf(const PathModel& path) {
  return path.stages > 1 ? path.chunk * path.steps : 0;
}

// Seconds for `bytes`; 0 for none.
inline double timeOf(const PathModel& path, double bytes) {
  if (bytes <= 0) return 0;
  double waited = (path.stages - 1) * std::min(bytes, kneeOf(path));
  return startOf(path) + (bytes + waited) / path.rate;
}

// The inverse: the most bytes that are through after `seconds`.
inline double bytesWithin(const PathModel& path, double seconds) {
  double passed = (seconds - startOf(path)) * path.rate;
  if (passed <= 0) return 0;
  double knee = kneeOf(path);
  if (passed <= path.stages * knee) return passed / path.stages;
  return passed - (path.stages - 1) * knee;
}

// Something that several paths, or several crossings of one path, use at the same time: an uplink,
// the host's memory. `rate` is what one rank has of it.
struct Cap {
  double rate = 0;                // bytes/s; > 0
  std::vector<double> crossings;  // for each path: how often its bytes cross; 0: not at all
};

// How the steps of a collective follow each other: `ring` sends to one neighbour at a time,
// `direct` to all peers at once.
enum class StepRule : uint8_t { kRing = 0, kDirect = 1 };

// Whether there is a cost for this kind; the two functions below know no other.
constexpr bool hasCost(Collective kind) {
  return kind == Collective::kAllReduce || kind == Collective::kAllGather ||
         kind == Collective::kReduceScatter || kind == Collective::kAlltoAll;
}

// Bytes that each rank sends, for each byte of the operation's size. The size is nccl-tests':
// of AllReduce the buffer, else the larger of the two buffers. It is also busbw over algbw.
constexpr double sentPerByte(Collective kind, int ranks) {
  double others = (ranks - 1.0) / ranks;
  return kind == Collective::kAllReduce ? 2 * others : others;
}

// Messages that wait for each other. AlltoAll has no data to pass on, so that none waits.
constexpr int stepsOf(Collective kind, StepRule rule, int ranks) {
  int round = rule == StepRule::kRing && kind != Collective::kAlltoAll ? ranks - 1 : 1;
  return kind == Collective::kAllReduce ? 2 * round : round;
}

}  // namespace flexlink
