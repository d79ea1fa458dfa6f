// SPDX-License-Identifier: Apache-2.0
// The order of work of a collective that goes through bounded shared memory: chunk by chunk, in two
// or three stages that overlap. Pure arithmetic; every rank computes the same.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace flexlink {

// Stage 0 puts chunk t into shared memory, stage 1 takes chunk t-1 (and, of three stages, puts its
// result), stage 2 takes result t-2. All ranks run the same steps and publish how many they have
// done, so that "may I?" is one comparison with a number of the peer.
//
//   t:        0        1        2        3
//   stages:   p0       p1 t0    p2 t1 o0 p3 t2 o1 ...
//
// A slot of shared memory is used again after `depth` chunks; at least 2, because a chunk is put
// before the one ahead of it is taken.
struct ChunkedSchedule {
  uint64_t chunks = 0;
  int stages = 2;  // 2 or 3
  int depth = 2;

  struct Step {
    int stage;
    int64_t chunk;  // outside [0, chunks): nothing to do in this step
  };

  uint64_t steps() const {
    return chunks == 0
               ? 0
               : static_cast<uint64_t>(stages) * (chunks + static_cast<uint64_t>(stages) - 1);
  }

  Step step(uint64_t index) const {
    int stage = static_cast<int>(index % static_cast<uint64_t>(stages));
    return {stage, static_cast<int64_t>(index / static_cast<uint64_t>(stages)) - stage};
  }

  bool idle(const Step& step) const {
    return step.chunk < 0 || step.chunk >= static_cast<int64_t>(chunks);
  }

  // Steps that a peer must have done after it has finished `stage` of `chunk`; 0 for a chunk < 0.
  uint64_t doneAfter(int stage, int64_t chunk) const {
    if (chunk < 0) return 0;
    uint64_t round = static_cast<uint64_t>(chunk + stage);
    return round * static_cast<uint64_t>(stages) + static_cast<uint64_t>(stage) + 1;
  }

  // Steps that the peers concerned must have done before `step` may run: those that fill what it
  // reads, and those that empty the slot that it writes.
  uint64_t needs(const Step& step) const {
    if (idle(step)) return 0;
    uint64_t filled = step.stage == 0 ? 0 : doneAfter(step.stage - 1, step.chunk);
    bool writesSlot = step.stage + 1 < stages;
    uint64_t emptied = writesSlot ? doneAfter(step.stage + 1, step.chunk - depth) : 0;
    return std::max(filled, emptied);
  }
};

// [begin, end) bytes of shard `index` of `bytes`, cut at multiples of 64 bytes, so that no two
// ranks write one cache line (nor split an element).
struct ByteRange {
  size_t begin;
  size_t end;
  size_t size() const { return end - begin; }
};

inline ByteRange shardOf(size_t bytes, int shards, int index) {
  size_t lines = (bytes + 63) / 64;
  size_t each = (lines + static_cast<size_t>(shards) - 1) / static_cast<size_t>(shards) * 64;
  size_t begin = std::min(bytes, each * static_cast<size_t>(index));
  return {begin, std::min(bytes, begin + each)};
}

inline ByteRange chunkOf(size_t bytes, size_t chunkBytes, int64_t index) {
  size_t begin = std::min(bytes, chunkBytes * static_cast<size_t>(index));
  return {begin, std::min(bytes, begin + chunkBytes)};
}

}  // namespace flexlink
