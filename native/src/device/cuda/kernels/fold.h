// SPDX-License-Identifier: Apache-2.0
// The loop of every kernel over memory: which thread takes which elements. Compiled by nvcc, and by
// the C++ compiler for tests, which walk through the threads one by one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "device/cuda/kernels/element.h"

namespace flexlink::cuda {

inline constexpr int kMaxSources = 128;
inline constexpr int kMaxDestinations = 16;
inline constexpr size_t kVectorBytes = 16;
inline constexpr int kThreadsPerBlock = 512;

// The parameters of a kernel, by value: below the 4 KiB that every GPU takes.
struct FoldPack {
  const char* srcs[kMaxSources];
  uint64_t scalars[kMaxSources];  // premulsum only
  char* dsts[kMaxDestinations];
  uint64_t head;     // elements before the first whole vector; all of them where there is none
  uint64_t vectors;  // of kVectorBytes, at aligned addresses in every buffer
  uint64_t tail;     // elements behind them
  int32_t nSrcs;
  int32_t nDsts;
  int32_t divisor;
  bool aligned;  // every element of every buffer to its own size
};

// Loops over registers must be unrolled; loops over buffers must not, or the code grows with them.
#if defined(__CUDACC__)
#define FLEXLINK_UNROLLED _Pragma("unroll")
#define FLEXLINK_ROLLED _Pragma("unroll 1")
using Vector = uint4;
#else
#define FLEXLINK_UNROLLED
#define FLEXLINK_ROLLED
struct alignas(16) Vector {
  uint32_t words[4];
};
#endif

template <class Num, class Op>
struct Fold {
  using Stored = typename Num::Stored;
  using Acc = typename Num::Acc;
  static constexpr int kPer = static_cast<int>(kVectorBytes / sizeof(Stored));
  static constexpr int kUnroll = kPer > 8 ? 2 : 4;  // vectors in flight: at most 32 accumulators

  static FLEXLINK_HD Acc scaled(const FoldPack& pack, int k, Acc x) {
    if constexpr (Op::kScales) {
      Stored scalar;
      memcpy(&scalar, &pack.scalars[k], sizeof(scalar));
      return static_cast<Acc>(x * Num::widen(scalar));
    }
    return x;
  }

  // Combines source k's vector into the accumulators, or starts them with it.
  static FLEXLINK_HD void take(const FoldPack& pack, int k, const Vector& vector, Acc* acc) {
    Stored lanes[kPer];
    memcpy(lanes, &vector, sizeof(lanes));
    FLEXLINK_UNROLLED
    for (int i = 0; i < kPer; ++i) {
      const Acc x = scaled(pack, k, Num::widen(lanes[i]));
      acc[i] = k == 0 ? x : Op::combine(acc[i], x);
    }
  }

  // kVectors of them, `step` bytes apart, from byte `at` of every buffer. The next source is loaded
  // while this one is added; all are loaded before the first store, which may go to one of them.
  template <int kVectors>
  static FLEXLINK_HD void unit(const FoldPack& pack, size_t at, size_t step) {
    Acc acc[kVectors][kPer] = {};
    Vector next[kVectors];
    FLEXLINK_UNROLLED
    for (int v = 0; v < kVectors; ++v) next[v] = vectorAt(pack.srcs[0] + at + v * step);
    FLEXLINK_ROLLED
    for (int k = 0; k < pack.nSrcs; ++k) {
      Vector now[kVectors];
      FLEXLINK_UNROLLED
      for (int v = 0; v < kVectors; ++v) now[v] = next[v];
      if (k + 1 < pack.nSrcs) {
        FLEXLINK_UNROLLED
        for (int v = 0; v < kVectors; ++v) next[v] = vectorAt(pack.srcs[k + 1] + at + v * step);
      }
      FLEXLINK_UNROLLED
      for (int v = 0; v < kVectors; ++v) take(pack, k, now[v], acc[v]);
    }
    FLEXLINK_UNROLLED
    for (int v = 0; v < kVectors; ++v) {
      Stored lanes[kPer];
      FLEXLINK_UNROLLED
      for (int i = 0; i < kPer; ++i) lanes[i] = Num::narrow(Op::finish(acc[v][i], pack.divisor));
      Vector packed;
      memcpy(&packed, lanes, sizeof(packed));
      FLEXLINK_ROLLED
      for (int j = 0; j < pack.nDsts; ++j) {
        *reinterpret_cast<Vector*>(pack.dsts[j] + at + v * step) = packed;
      }
    }
  }

  static FLEXLINK_HD Vector vectorAt(const char* from) {
    return *reinterpret_cast<const Vector*>(from);
  }

  static FLEXLINK_HD Stored elementAt(const FoldPack& pack, const char* from) {
    if (pack.aligned) return *reinterpret_cast<const Stored*>(from);
    unsigned char bytes[sizeof(Stored)];
    FLEXLINK_UNROLLED
    for (size_t b = 0; b < sizeof(Stored); ++b) bytes[b] = static_cast<unsigned char>(from[b]);
    Stored stored;
    memcpy(&stored, bytes, sizeof(stored));
    return stored;
  }

  static FLEXLINK_HD void put(const FoldPack& pack, char* to, Stored stored) {
    if (pack.aligned) {
      *reinterpret_cast<Stored*>(to) = stored;
      return;
    }
    unsigned char bytes[sizeof(Stored)];
    memcpy(bytes, &stored, sizeof(stored));
    FLEXLINK_UNROLLED
    for (size_t b = 0; b < sizeof(Stored); ++b) to[b] = static_cast<char>(bytes[b]);
  }

  static FLEXLINK_HD void element(const FoldPack& pack, size_t at) {
    Acc acc = scaled(pack, 0, Num::widen(elementAt(pack, pack.srcs[0] + at)));
    FLEXLINK_ROLLED
    for (int k = 1; k < pack.nSrcs; ++k) {
      acc = Op::combine(acc, scaled(pack, k, Num::widen(elementAt(pack, pack.srcs[k] + at))));
    }
    const Stored stored = Num::narrow(Op::finish(acc, pack.divisor));
    FLEXLINK_ROLLED
    for (int j = 0; j < pack.nDsts; ++j) put(pack, pack.dsts[j] + at, stored);
  }

  // What thread number `thread` of `threads` does.
  static FLEXLINK_HD void run(const FoldPack& pack, size_t thread, size_t threads) {
    const size_t first = pack.head * sizeof(Stored);  // byte of the first vector
    size_t v = thread;
    FLEXLINK_ROLLED
    for (; v + (kUnroll - 1) * threads < pack.vectors; v += kUnroll * threads) {
      unit<kUnroll>(pack, first + v * kVectorBytes, threads * kVectorBytes);
    }
    FLEXLINK_ROLLED
    for (; v < pack.vectors; v += threads) unit<1>(pack, first + v * kVectorBytes, 0);
    FLEXLINK_ROLLED
    for (size_t e = thread; e < pack.head + pack.tail; e += threads) {
      const size_t skipped = e < pack.head ? 0 : pack.vectors * kVectorBytes;
      element(pack, e * sizeof(Stored) + skipped);
    }
  }
};

}  // namespace flexlink::cuda
