// SPDX-License-Identifier: Apache-2.0
// The patterns beside `direct`, and what all of them share.
#include <algorithm>

#include "schedule/steps.h"

namespace flexlink {
namespace {

Step sendStep(int peer, Space from, ByteRange what, uint8_t phase, uint8_t gate = 0) {
  return {Step::Kind::kSend, phase, gate, 0, from, Space::kRecv, peer, what.begin, 0, what.size()};
}

Step receiveStep(int peer, Space to, size_t at, size_t bytes, uint8_t gate) {
  return {Step::Kind::kRecv, 0, gate, 0, Space::kSend, to, peer, 0, at, bytes};
}

// Ranks counted from the root, so that it is number 0.
int fromRoot(const ScheduleCall& call) { return (call.rank - call.root + call.ranks) % call.ranks; }
int rankOf(const ScheduleCall& call, int number) { return (call.root + number) % call.ranks; }

// A Broadcast in which this rank gets the segment from `parent` (-1: it is the root) and sends it
// to `children`.
std::vector<Step> relay(const ScheduleCall& call, ByteRange segment, int parent,
                        const std::vector<int>& children) {
  std::vector<Step> steps;
  const bool isRoot = parent < 0;
  if (segment.size() == 0) return steps;
  if (!isRoot) steps.push_back(receiveStep(parent, Space::kRecv, segment.begin, segment.size(), 1));
  for (int child : children) {
    Space from = isRoot ? Space::kSend : Space::kRecv;
    steps.push_back(sendStep(child, from, segment, isRoot ? 0 : 1));
  }
  if (isRoot && !call.inPlace) {
    steps.push_back({Step::Kind::kCopy, 0, 0, 0, Space::kSend, Space::kRecv, -1, segment.begin,
                     segment.begin, segment.size()});
  }
  return steps;
}

}  // namespace

const char* patternName(Pattern pattern) {
  constexpr const char* kNames[kPatterns] = {"direct", "oneShot", "tree", "ring"};
  return kNames[static_cast<int>(pattern)];
}

size_t pieceBytes(const ScheduleCall& call) {
  bool shards = call.kind == Collective::kAllReduce || call.kind == Collective::kReduce;
  if (!shards || call.pattern == Pattern::kOneShot) return call.block;
  return shardOf(call.block, call.ranks, 0).size();
}

// In place, the own contribution is overwritten by the fold: it must have arrived before.
std::vector<Step> oneShotSteps(const ScheduleCall& call, ByteRange segment) {
  std::vector<Step> steps;
  if (segment.size() == 0) return steps;
  for (int turn = 1; turn < call.ranks; ++turn) {
    int peer = (call.rank + turn) % call.ranks;
    steps.push_back(receiveStep(peer, Space::kScratch, 0, segment.size(), 1));
    steps.push_back(sendStep(peer, Space::kSend, segment, 0, call.inPlace ? 1 : 0));
  }
  steps.push_back({Step::Kind::kFold, 1, 0, 0, Space::kSend, Space::kRecv, -1, segment.begin,
                   segment.begin, segment.size()});
  return steps;
}

// Binomial: in round k, number i < 2^k sends to number i + 2^k.
std::vector<Step> treeSteps(const ScheduleCall& call, ByteRange segment) {
  int me = fromRoot(call);
  int parent = -1, round = 1;
  while (round <= me) round *= 2;
  if (me != 0) parent = rankOf(call, me - round / 2);
  std::vector<int> children;
  for (; me + round < call.ranks; round *= 2) children.push_back(rankOf(call, me + round));
  return relay(call, segment, parent, children);
}

std::vector<Step> ringSteps(const ScheduleCall& call, ByteRange segment) {
  int me = fromRoot(call);
  std::vector<int> children;
  if (me + 1 < call.ranks) children.push_back(rankOf(call, me + 1));
  return relay(call, segment, me == 0 ? -1 : rankOf(call, me - 1), children);
}

std::vector<Step> makeSteps(const ScheduleCall& call, ByteRange segment) {
  switch (call.pattern) {
    case Pattern::kOneShot:
      return oneShotSteps(call, segment);
    case Pattern::kTree:
      return treeSteps(call, segment);
    case Pattern::kRing:
      return ringSteps(call, segment);
    default:
      return directSteps(call, segment);
  }
}

}  // namespace flexlink
