// SPDX-License-Identifier: Apache-2.0
// The memory lane's sizes and switches, and what decides them. Pure.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flexlink {

// Numbers that all ranks must share; made by memoryTuning() from what all ranks said at creation.
struct MemoryTuning {
  // Largest payload that travels with the entry: of AllReduce and Reduce, where every rank then
  // reads (and folds) n times what it owns, and of the others, where it reads what it needs.
  size_t eagerFoldBytes = 4096;
  size_t eagerBytes = 4096;
  size_t directBytes = 8192;         // payload from which on the direct way pays where it is open
  size_t chunkBytes = 131072;        // of a staged shard
  size_t rootChunkBytes = 32768;     // where one rank gives and others take: they overlap
  size_t directChunkBytes = 262144;  // work between two looks at the abort flag
  size_t oneShotBytes = 0;       // byDevice: up to here every rank folds all, not its share of it
  size_t streamBytes = 8 << 20;  // results from this size on are written past the caches
  size_t cmaBytes = 65536;  // point-to-point messages from this size on use cross-memory attach
  int depth = 2;            // chunks that fit into the pool at least
  bool direct = true;
  bool cma = true;
  bool byDevice = false;  // streams of a device copy and add: the staged way alone
};

// What all ranks together said at creation; the same on every rank.
struct TuningFacts {
  int ranks = 1;
  bool oversubscribed = false;  // more ranks than cores
  bool direct = true;           // every rank allows it
  bool cma = true;              // every rank may read every other's memory
  int64_t eagerBytes = -1;      // rank 0's FLEXLINK_EAGER_BYTES; -1: automatic
  int64_t chunkBytes = -1;      // rank 0's FLEXLINK_CHUNK_BYTES
  bool byDevice = false;        // rank 0's FLEXLINK_COPIES, or on GPUs
};

MemoryTuning memoryTuning(const TuningFacts& facts);

}  // namespace flexlink
