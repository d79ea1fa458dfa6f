// SPDX-License-Identifier: Apache-2.0
// The loops over memory: one pass over all sources, sums kept in registers, every destination
// written from them. Which elements meet is decided here and nowhere else. Included only by
// kernels_<isa>.cc, inside their anonymous namespace.
#pragma once

#include "device/host/kernels_ops.inl"

inline constexpr int kAccs = 4;      // accumulators in flight: hides the latency of one add
inline constexpr size_t kLine = 64;  // a streamed line must be written whole to be fast
inline constexpr int kMaxDsts = 16;
inline constexpr size_t kAlignFrom = 4096;  // bytes from which aligning the first destination pays

struct Out {
  char* to;
  bool streams;
};

FLEXLINK_INLINE size_t misalignment(const void* p) {
  return reinterpret_cast<uintptr_t>(p) & (kLine - 1);
}

// Bytes before the first line boundary of the destination that is to be aligned, and which
// destinations then lie on line boundaries and may be streamed. Destinations that are not even
// aligned to their elements stay as they are: a head must not end inside an element.
inline size_t planOuts(void* const* dsts, int nDsts, size_t elementBytes, uint32_t streamMask,
                       Out* outs) {
  int leader = streamMask == 0 ? 0 : __builtin_ctz(streamMask);
  if (leader >= nDsts) leader = 0;
  const size_t head = (kLine - misalignment(dsts[leader])) & (kLine - 1);
  const bool aligns = head % elementBytes == 0;
  for (int j = 0; j < nDsts; ++j) {
    const bool wanted = aligns && (streamMask >> j & 1) != 0;
    outs[j].to = static_cast<char*>(dsts[j]);
    outs[j].streams = wanted && misalignment(dsts[j]) == misalignment(dsts[leader]);
  }
  return aligns ? head : 0;
}

template <class Num, class Op>
struct Fold {
  using Stored = typename Num::Stored;
  using Acc = typename Num::Acc;
  static constexpr int kParts = Num::kParts;
  static constexpr int kRegisters = kAccs / kParts;
  static constexpr size_t kUnit = kRegisters * kRegisterBytes;  // bytes of one source at a time

  // Combines a unit of source k into the accumulators, or starts them with it.
  template <bool kStarts>
  static FLEXLINK_INLINE void take(const char* from, const FoldArgs& args, int k, Acc* acc) {
    for (int r = 0; r < kRegisters; ++r) {
      Acc x[kParts];
      Num::load(from + r * kRegisterBytes, x);
      for (int p = 0; p < kParts; ++p) {
        if constexpr (Op::kScales) x[p] *= splatScalar<Num>(args.scalars[k]);
        Acc& a = acc[r * kParts + p];
        if constexpr (kStarts) {
          a = x[p];
        } else {
          a = Op::combine(a, x[p]);
        }
      }
    }
  }

  template <bool kStreams, typename Packed>
  static FLEXLINK_INLINE void give(char* to, const Packed* packed) {
    for (int r = 0; r < kRegisters; ++r) {
      if constexpr (kStreams) {
        streamVec(to + r * kRegisterBytes, packed[r]);
      } else {
        storeVec(to + r * kRegisterBytes, packed[r]);
      }
    }
  }

  // The last steps of a unit, to every destination. kWhole: all bytes of the unit exist; else only
  // the first `bytes` of them.
  template <bool kWhole>
  static FLEXLINK_INLINE void finish(const FoldArgs& args, const Out* outs, size_t offset,
                                     size_t bytes, Acc* acc) {
    if constexpr (Op::kDivides) {
      for (int v = 0; v < kAccs; ++v) acc[v] = Op::divide(acc[v], args.divisor);
    }
    decltype(Num::pack(acc)) packed[kRegisters];
    for (int r = 0; r < kRegisters; ++r) packed[r] = Num::pack(acc + r * kParts);
    for (int j = 0; j < args.nDsts; ++j) {
      char* to = outs[j].to + offset;
      if constexpr (!kWhole) {
        copyBytes(to, reinterpret_cast<const char*>(packed), bytes);
      } else if (outs[j].streams) {
        give<true>(to, packed);
      } else {
        give<false>(to, packed);
      }
    }
  }

  // Less than a unit at a time, through a buffer on the stack.
  static void parts(const FoldArgs& args, const Out* outs, size_t offset, size_t end) {
    alignas(64) char part[kUnit] = {};
    while (offset < end) {
      const size_t bytes = end - offset < kUnit ? end - offset : kUnit;
      Acc acc[kAccs];
      copyBytes(part, static_cast<const char*>(args.srcs[0]) + offset, bytes);
      take<true>(part, args, 0, acc);
      for (int k = 1; k < args.nSrcs; ++k) {
        copyBytes(part, static_cast<const char*>(args.srcs[k]) + offset, bytes);
        take<false>(part, args, k, acc);
      }
      finish<false>(args, outs, offset, bytes, acc);
      offset += bytes;
    }
  }

  // Whole units from `offset` on; returns where the rest begins. kSrcs: their number when the
  // compiler is to know it, else 0.
  template <int kSrcs>
  static size_t units(const FoldArgs& callers, const Out* outs, size_t offset, size_t end) {
    const FoldArgs args = callers;  // a copy that no store can alias
    const int nSrcs = kSrcs > 0 ? kSrcs : args.nSrcs;
    for (; offset + kUnit <= end; offset += kUnit) {
      Acc acc[kAccs];
      take<true>(static_cast<const char*>(args.srcs[0]) + offset, args, 0, acc);
      for (int k = 1; k < nSrcs; ++k) {
        take<false>(static_cast<const char*>(args.srcs[k]) + offset, args, k, acc);
      }
      finish<true>(args, outs, offset, kUnit, acc);
    }
    return offset;
  }

  static void run(const FoldArgs& args) {
    const size_t end = args.count * sizeof(Stored);
    Out outs[kMaxDsts];
    const size_t head = planOuts(args.dsts, args.nDsts, sizeof(Stored), args.streamMask, outs);
    size_t offset = 0;
    if (args.streamMask != 0 || end >= kAlignFrom) {
      offset = head < end ? head : end;
      parts(args, outs, 0, offset);
    }
    offset =
        args.nSrcs == 2 ? units<2>(args, outs, offset, end) : units<0>(args, outs, offset, end);
    parts(args, outs, offset, end);
    if (args.streamMask != 0) streamFence();
  }
};

FLEXLINK_INLINE void copyUnit(const Out* outs, int nDsts, const char* src, size_t offset) {
  using Lane = Reg<uint64_t>;
  Lane v[kAccs];
  for (int i = 0; i < kAccs; ++i) v[i] = loadVec<Lane>(src + offset + i * kRegisterBytes);
  for (int j = 0; j < nDsts; ++j) {
    char* to = outs[j].to + offset;
    for (int i = 0; i < kAccs; ++i) {
      if (outs[j].streams) {
        streamVec(to + i * kRegisterBytes, v[i]);
      } else {
        storeVec(to + i * kRegisterBytes, v[i]);
      }
    }
  }
}

inline void copyPart(const Out* outs, int nDsts, const char* src, size_t offset, size_t end) {
  if (offset == end) return;
  for (int j = 0; j < nDsts; ++j) {
    copyBytes(outs[j].to + offset, src + offset, end - offset);
  }
}

inline void copyAll(void* const* dsts, int nDsts, const void* src, size_t bytes,
                    uint32_t streamMask) {
  constexpr size_t kUnit = kAccs * kRegisterBytes;
  const char* from = static_cast<const char*>(src);
  Out outs[kMaxDsts];
  const size_t head = planOuts(dsts, nDsts, 1, streamMask, outs);
  size_t offset = head < bytes ? head : bytes;
  copyPart(outs, nDsts, from, 0, offset);
  for (; offset + kUnit <= bytes; offset += kUnit) copyUnit(outs, nDsts, from, offset);
  copyPart(outs, nDsts, from, offset, bytes);
  if (streamMask != 0) streamFence();
}

// Fill one row of the table; its columns are in the order of ReduceOp. S: the integer, U: the same
// without a sign, which wraps.
template <typename S, typename U>
constexpr void fillIntegers(KernelTable& table, DataType type) {
  auto& row = table.fold[static_cast<int>(type)];
  row[0] = Fold<Direct<U>, Sum>::run;
  row[1] = Fold<Direct<U>, Prod>::run;
  row[2] = Fold<Direct<S>, Max>::run;
  row[3] = Fold<Direct<S>, Min>::run;
  row[4] = Fold<Direct<U>, Avg<S>>::run;
  row[5] = Fold<Direct<U>, PreMulSum>::run;
  row[6] = Fold<Direct<U>, BitAnd>::run;
  row[7] = Fold<Direct<U>, BitOr>::run;
  row[8] = Fold<Direct<U>, BitXor>::run;
}

// Arithmetic: the Num to add in; Ordered, MaxOp, MinOp: how to compare.
template <class Arithmetic, typename Divides, class Ordered, class MaxOp, class MinOp>
constexpr void fillFloats(KernelTable& table, DataType type) {
  auto& row = table.fold[static_cast<int>(type)];
  row[0] = Fold<Arithmetic, Sum>::run;
  row[1] = Fold<Arithmetic, Prod>::run;
  row[2] = Fold<Ordered, MaxOp>::run;
  row[3] = Fold<Ordered, MinOp>::run;
  row[4] = Fold<Arithmetic, Avg<Divides>>::run;
  row[5] = Fold<Arithmetic, PreMulSum>::run;
}

template <class Format, typename S>
constexpr void fillSmallFloats(KernelTable& table, DataType type) {
  fillFloats<Widened<Format>, float, Direct<S>, MaxBits<S>, MinBits<S>>(table, type);
}

constexpr KernelTable makeTable(const char* name) {
  KernelTable table{};
  table.name = name;
  fillIntegers<int8_t, uint8_t>(table, DataType::kInt8);
  fillIntegers<uint8_t, uint8_t>(table, DataType::kUint8);
  fillIntegers<int32_t, uint32_t>(table, DataType::kInt32);
  fillIntegers<uint32_t, uint32_t>(table, DataType::kUint32);
  fillIntegers<int64_t, uint64_t>(table, DataType::kInt64);
  fillIntegers<uint64_t, uint64_t>(table, DataType::kUint64);
  fillFloats<Direct<float>, float, Direct<float>, Max, Min>(table, DataType::kFloat32);
  fillFloats<Direct<double>, double, Direct<double>, Max, Min>(table, DataType::kFloat64);
  fillSmallFloats<Half, int16_t>(table, DataType::kFloat16);
  fillSmallFloats<Brain, int16_t>(table, DataType::kBfloat16);
  fillSmallFloats<Float8e4m3, int8_t>(table, DataType::kFloat8e4m3);
  fillSmallFloats<Float8e5m2, int8_t>(table, DataType::kFloat8e5m2);
  table.copy = copyAll;
  return table;
}
