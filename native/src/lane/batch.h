// SPDX-License-Identifier: Apache-2.0
// What the layers above hand to a lane: the calls of one outermost group on one communicator.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/types.h"
#include "device/host/region.h"

namespace flexlink {

// Where a window of a peer lies: shared memory, or (same process) a plain address.
struct WindowTarget {
  RegionRef region;
  void* address = nullptr;
};

// A call of the user that a lane made other calls of: what ranks compare, and what errors quote.
struct Whole {
  uint64_t signature = 0;  // packSignature()
  uint64_t count = 0;
};

// One call of the user, its arguments already checked. Buffers are the user's; they stay valid
// until the batch is done.
struct Call {
  Collective kind = Collective::kAllReduce;
  DataType type = DataType::kUint8;
  ReduceOp op = ReduceOp::kSum;
  int32_t root = 0;  // Send, Recv and one-sided calls: the peer
  const void* send = nullptr;
  void* recv = nullptr;
  size_t count = 0;                     // elements, as in the API; WaitSignal: signals to wait for
  size_t stride = 0;                    // elements between blocks, where they are parts; 0: count
  uint64_t seq = 0;                     // number of the user's call in the communicator
  uint64_t scalar = 0;                  // kPreMulSum: this rank's factor, the bits of `type`
  const void* scalarAddress = nullptr;  // not null: the factor is read here when the call runs
  uint32_t signal = 0;                  // one-sided: index of the signal counter
  WindowTarget target;                  // PutSignal: where the data goes
  const Whole* whole = nullptr;         // not null: this call is a part of that one
  int32_t divisor = 0;                  // kAvg: of the sum; 0: the number of the lane's ranks
};

// Elements from the beginning of one rank's block to that of the next.
constexpr size_t strideOf(const Call& call) { return call.stride != 0 ? call.stride : call.count; }

// Of one rank's block.
constexpr size_t bytesOf(const Call& call) { return call.count * typeSize(call.type); }

constexpr bool isRooted(Collective kind) {
  return kind == Collective::kBroadcast || kind == Collective::kReduce ||
         kind == Collective::kGather || kind == Collective::kScatter;
}
constexpr bool folds(Collective kind) {
  return kind == Collective::kAllReduce || kind == Collective::kReduce ||
         kind == Collective::kReduceScatter;
}
// Has the buffer a block for each rank, where this rank gives, or takes, at all?
constexpr bool sendsBlocks(Collective kind) {
  return kind == Collective::kReduceScatter || kind == Collective::kScatter ||
         kind == Collective::kAlltoAll;
}
constexpr bool receivesBlocks(Collective kind) {
  return kind == Collective::kAllGather || kind == Collective::kGather ||
         kind == Collective::kAlltoAll;
}
constexpr bool isCollective(Collective kind) { return kind < Collective::kSend; }
constexpr bool isMessage(Collective kind) {
  return kind == Collective::kSend || kind == Collective::kRecv;
}

// Elements [begin, end) of every block of a call.
struct ElementRange {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
};

// Of a call that concerns one peer: its direction of its pair, as an index below 2 * ranks.
constexpr size_t wayOf(const Call& call) {
  return 2 * static_cast<size_t>(call.root) + (call.kind == Collective::kRecv ? 1 : 0);
}

// Of an AlltoAll, a Gather or a Scatter: does `from` send something to `to`?
constexpr bool sendsTo(const Call& call, int from, int to) {
  return call.kind == Collective::kAlltoAll ||
         call.root == (call.kind == Collective::kGather ? to : from);
}

// The part of a collective that is about elements [begin, begin + count) of every block; `whole`
// stands for the call and outlives the part.
inline Call sliceOf(const Call& call, size_t begin, size_t count, const Whole* whole) {
  const size_t skipped = begin * typeSize(call.type);
  Call part = call;
  if (call.send != nullptr) part.send = static_cast<const uint8_t*>(call.send) + skipped;
  if (call.recv != nullptr) part.recv = static_cast<uint8_t*>(call.recv) + skipped;
  part.count = count;
  part.stride = strideOf(call);
  part.whole = whole;
  return part;
}

// Calls that may wait for one peer only (all of them progress together), then calls that all ranks
// make, one after the other. Every rank builds its batches by this rule, so none waits for an order
// that another does not keep.
struct Batch {
  std::vector<Call> single;
  std::vector<Call> collective;
};

// Sends and receives, and nothing else. What goes to one peer is nobody else's concern, so several
// such batches may be under way at once; puts and signals are about memory that others use.
inline bool onlyMessages(const Batch& batch) {
  return batch.collective.empty() && !batch.single.empty() &&
         std::all_of(batch.single.begin(), batch.single.end(),
                     [](const Call& call) { return isMessage(call.kind); });
}

// One receive and nothing else: nobody but who waits for it needs to know what becomes of it.
inline bool isLoneReceive(const Batch& batch) {
  return batch.collective.empty() && batch.single.size() == 1 &&
         batch.single.front().kind == Collective::kRecv;
}

}  // namespace flexlink
