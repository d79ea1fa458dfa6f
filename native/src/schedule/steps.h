// SPDX-License-Identifier: Apache-2.0
// What one rank does in a collective between ranks that exchange messages: steps as plain data.
// Pure; every rank computes its own, and they fit together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/types.h"
#include "schedule/chunked.h"

namespace flexlink {

// Where bytes lie on the rank whose step it is.
enum class Space : uint8_t {
  kSend,     // the user's send buffer
  kRecv,     // the user's receive buffer
  kScratch,  // memory of the segment, one place for each rank, `ByteRange::begin` counted inside it
};

// kSend: `bytes` at `from` go to `peer`. kRecv: bytes of `peer` come to `to`. kCopy: `from` to
// `to`. kFold: the contributions of all ranks, in rank order, to `to`: this rank's own at `from`,
// each other's in its place of the scratch memory.
struct Step {
  enum class Kind : uint8_t { kSend, kRecv, kCopy, kFold };
  Kind kind = Kind::kSend;
  uint8_t phase = 0;  // begins after all lower phases, and when whatever gates it or them is done
  uint8_t gate = 0;   // kSend, kRecv: the phase that needs it to be over; 0: none before the end
  uint8_t tag = 0;    // below kTagsPerSegment; tells messages between the same two ranks apart
  Space from = Space::kSend;
  Space to = Space::kRecv;
  int peer = -1;
  size_t fromOffset = 0;
  size_t toOffset = 0;
  size_t bytes = 0;
};

inline constexpr uint32_t kTagsPerSegment = 4;

// Who sends to whom. Contributions always go straight to whoever folds them.
//   direct   whoever has something sends it to whoever needs it, in one hop; an AllReduce's shards
//            are folded by their owners, who send the results to all (two hops)
//   oneShot  AllReduce: everybody sends all to all and folds for himself (one hop)
//   tree     Broadcast: every rank that has it sends it on, so that their number doubles
//   ring     Broadcast: from rank to rank, segments one behind the other
enum class Pattern : uint8_t { kDirect, kOneShot, kTree, kRing };
inline constexpr int kPatterns = 4;
const char* patternName(Pattern pattern);

// The collective as the schedules see it. Sizes in bytes.
struct ScheduleCall {
  Collective kind = Collective::kAllReduce;
  int rank = 0;
  int ranks = 1;
  int root = 0;
  size_t block = 0;      // of one rank's block: count x size of the type
  size_t stride = 0;     // from the beginning of one rank's block to that of the next
  bool inPlace = false;  // what this rank owes itself is already where it belongs
  Pattern pattern = Pattern::kDirect;
};

// A rank's piece is cut into segments, which go one behind the other through a bounded scratch
// memory. The longest piece that one rank owns or moves in one call:
size_t pieceBytes(const ScheduleCall& call);

// This rank's steps for `segment`, a part of [0, pieceBytes()).
std::vector<Step> makeSteps(const ScheduleCall& call, ByteRange segment);

// One of these, by pattern.
std::vector<Step> directSteps(const ScheduleCall& call, ByteRange segment);
std::vector<Step> oneShotSteps(const ScheduleCall& call, ByteRange segment);
std::vector<Step> treeSteps(const ScheduleCall& call, ByteRange segment);
std::vector<Step> ringSteps(const ScheduleCall& call, ByteRange segment);

}  // namespace flexlink
