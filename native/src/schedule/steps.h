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
  uint8_t phase = 0;   // begins when all lower phases, but for what does not gate, are done
  bool gates = false;  // kRecv: the next phase needs it; else it is due at the end of the segment
  uint8_t tag = 0;     // tells messages between the same two ranks apart
  Space from = Space::kSend;
  Space to = Space::kRecv;
  int peer = -1;
  size_t fromOffset = 0;
  size_t toOffset = 0;
  size_t bytes = 0;
};

// The collective as the schedules see it. Sizes in bytes.
struct ScheduleCall {
  Collective kind = Collective::kAllReduce;
  int rank = 0;
  int ranks = 1;
  int root = 0;
  size_t block = 0;      // of one rank's block: count x size of the type
  bool inPlace = false;  // what this rank owes itself is already where it belongs
};

// A rank's piece is cut into segments of at most `segmentBytes`, which go one behind the other
// through a bounded scratch memory. The longest piece that one rank owns or moves in one call:
size_t pieceBytes(const ScheduleCall& call);

// `direct`: whoever has something sends it to whoever needs it, in one hop; contributions go to the
// owner of a shard, who folds them and, for AllReduce, sends the result to all. `segment` is a part
// of [0, pieceBytes()).
std::vector<Step> directSteps(const ScheduleCall& call, ByteRange segment);

}  // namespace flexlink
