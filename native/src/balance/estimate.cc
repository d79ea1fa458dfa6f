// SPDX-License-Identifier: Apache-2.0
#include "balance/estimate.h"

#include <cmath>

namespace flexlink {
namespace {

// Of every call: checks, numbering, clocks.
constexpr double kCallSeconds = 2e-7;

// Bytes through one rank's hands, and how often it waits for the others.
struct Work {
  double bytes = 0;
  int steps = 0;
};

bool hasOnePeer(Collective kind) { return kind >= Collective::kSend; }
bool movesData(Collective kind) {
  return kind != Collective::kSignal && kind != Collective::kWaitSignal;
}

// Staged: what others are to read is put into the pool, folded there, and taken out again. Where
// one rank gives or takes everything, all wait for it.
Work inMemory(const EstimateCall& call, const EstimateRanks& ranks) {
  const double all = ranks.all, onHost = ranks.onHost;
  if (hasOnePeer(call.kind)) return {movesData(call.kind) ? call.bytes : 0, call.away ? 0 : 1};
  if (ranks.onHost == 1) {
    return {call.kind == Collective::kReduceScatter ? all * call.bytes : call.bytes, 0};
  }
  switch (call.kind) {
    case Collective::kAllReduce:
    case Collective::kReduce:
      return {3 * call.bytes, 2};
    case Collective::kAllGather:
      return {(1 + all) * call.bytes, 2};
    case Collective::kReduceScatter:
      return {2 * all * call.bytes, 2};
    case Collective::kAlltoAll:
      return {2 * onHost * call.bytes, 2};
    case Collective::kGather:
    case Collective::kScatter:
      return {(1 + onHost) * call.bytes, 2};
    default:
      return {2 * call.bytes, 2};
  }
}

// What the busiest rank of a host sends or receives. Ranks of a host share what they all have.
Work overWire(const EstimateCall& call, const EstimateRanks& ranks) {
  if (hasOnePeer(call.kind)) {
    return {call.away && movesData(call.kind) ? call.bytes : 0, call.away ? 1 : 0};
  }
  if (ranks.hosts == 1) return {};
  const double share = call.bytes / ranks.onHost;
  switch (call.kind) {
    case Collective::kAllReduce:
    case Collective::kReduce:  // the second half is the way to the root
      return {sentPerByte(Collective::kAllReduce, ranks.hosts) * share, 2};
    case Collective::kBroadcast:  // a tree, or for many bytes something that sends them once
      return {share, static_cast<int>(std::ceil(std::log2(ranks.hosts)))};
    case Collective::kAllGather:
    case Collective::kReduceScatter:
      return {(ranks.hosts - 1) * call.bytes, 1};
    default:
      return {(ranks.all - ranks.onHost) * call.bytes, 1};
  }
}

double secondsOver(PathModel path, const Work& work) {
  path.steps = work.steps;
  return work.bytes > 0 ? timeOf(path, work.bytes) : startOf(path);
}

}  // namespace

double estimateSeconds(const EstimateCall& call, const EstimateRanks& ranks,
                       const EstimatePaths& paths) {
  return kCallSeconds + secondsOver(paths.memory, inMemory(call, ranks)) +
         secondsOver(paths.wire, overWire(call, ranks));
}

}  // namespace flexlink
