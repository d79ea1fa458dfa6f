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
// destinations then lie on line boundaries and may be streamed.
inline size_t planOuts(void* const* dsts, int nDsts, uint32_t streamMask, Out* outs) {
  int leader = streamMask == 0 ? 0 : __builtin_ctz(streamMask);
  if (leader >= nDsts) leader = 0;
  for (int j = 0; j < nDsts; ++j) {
    const bool wanted = (streamMask >> j & 1) != 0;
    outs[j].to = static_cast<char*>(dsts[j]);
    outs[j].streams = wanted && misalignment(dsts[j]) == misalignment(dsts[leader]);
  }
  return (kLine - misalignment(dsts[leader])) & (kLine - 1);
}

template <class Num, class Op>
struct Fold {
  using Stored = typename Num::Stored;
  using Acc = typename Num::Acc;
  using Packed = Vec<Stored, Num::kStoredBytes / sizeof(Stored)>;
  static constexpr size_t kUnit = kAccs * Num::kStoredBytes;  // bytes of one source at a time

  static FLEXLINK_INLINE Acc load(const char* from, const FoldArgs& args, int k) {
    const Acc x = Num::widen(loadVec<Packed>(from));
    if constexpr (Op::kScales) return x * splatScalar<Num>(args.scalars[k]);
    return x;
  }

  // One unit at `offset`. kSrcs: their number when known, else 0. kWhole: all bytes of the unit
  // exist; else only `bytes` of them, and they go through a buffer on the stack.
  template <int kSrcs, bool kWhole>
  static FLEXLINK_INLINE void unit(const FoldArgs& args, const Out* outs, size_t offset,
                                   size_t bytes) {
    alignas(64) char part[kUnit];
    if constexpr (!kWhole) __builtin_memset(part, 0, sizeof(part));
    const int nSrcs = kSrcs > 0 ? kSrcs : args.nSrcs;
    Acc acc[kAccs] = {};
    for (int k = 0; k < nSrcs; ++k) {
      const char* from = static_cast<const char*>(args.srcs[k]) + offset;
      if constexpr (!kWhole) {
        __builtin_memcpy(part, from, bytes);
        from = part;
      }
      for (int v = 0; v < kAccs; ++v) {
        const Acc x = load(from + v * Num::kStoredBytes, args, k);
        acc[v] = k == 0 ? x : Op::combine(acc[v], x);
      }
    }
    Packed packed[kAccs];
    for (int v = 0; v < kAccs; ++v) {
      if constexpr (Op::kDivides) acc[v] = Op::divide(acc[v], args.divisor);
      packed[v] = Num::narrow(acc[v]);
    }
    for (int j = 0; j < args.nDsts; ++j) {
      char* to = kWhole ? outs[j].to + offset : part;
      const bool streams = kWhole && outs[j].streams;
      for (int v = 0; v < kAccs; ++v) {
        if (streams) {
          streamVec(to + v * Num::kStoredBytes, packed[v]);
        } else {
          storeVec(to + v * Num::kStoredBytes, packed[v]);
        }
      }
      if constexpr (!kWhole) __builtin_memcpy(outs[j].to + offset, part, bytes);
    }
  }

  static void part(const FoldArgs& args, const Out* outs, size_t offset, size_t end) {
    while (offset < end) {
      const size_t bytes = end - offset < kUnit ? end - offset : kUnit;
      unit<0, false>(args, outs, offset, bytes);
      offset += bytes;
    }
  }

  template <int kSrcs>
  static size_t units(const FoldArgs& args, const Out* outs, size_t offset, size_t end) {
    for (; offset + kUnit <= end; offset += kUnit) unit<kSrcs, true>(args, outs, offset, kUnit);
    return offset;
  }

  static void run(const FoldArgs& args) {
    const size_t end = args.count * sizeof(Stored);
    Out outs[kMaxDsts];
    const size_t head = planOuts(args.dsts, args.nDsts, args.streamMask, outs);
    size_t offset = 0;
    if (args.streamMask != 0 || end >= kAlignFrom) {
      offset = head < end ? head : end;
      part(args, outs, 0, offset);
    }
    offset =
        args.nSrcs == 2 ? units<2>(args, outs, offset, end) : units<0>(args, outs, offset, end);
    part(args, outs, offset, end);
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
    __builtin_memcpy(outs[j].to + offset, src + offset, end - offset);
  }
}

inline void copyAll(void* const* dsts, int nDsts, const void* src, size_t bytes,
                    uint32_t streamMask) {
  constexpr size_t kUnit = kAccs * kRegisterBytes;
  const char* from = static_cast<const char*>(src);
  Out outs[kMaxDsts];
  const size_t head = planOuts(dsts, nDsts, streamMask, outs);
  size_t offset = head < bytes ? head : bytes;
  copyPart(outs, nDsts, from, 0, offset);
  for (; offset + kUnit <= bytes; offset += kUnit) copyUnit(outs, nDsts, from, offset);
  copyPart(outs, nDsts, from, offset, bytes);
  if (streamMask != 0) streamFence();
}

// Rows by DataType, columns by ReduceOp.
template <typename S, typename U>
struct IntegerRow {
  using Wraps = Direct<U>;
  using Signed = Direct<S>;
  static constexpr void fill(KernelTable& table, DataType type) {
    auto& row = table.fold[static_cast<int>(type)];
    row[0] = Fold<Wraps, Sum>::run;
    row[1] = Fold<Wraps, Prod>::run;
    row[2] = Fold<Signed, Max>::run;
    row[3] = Fold<Signed, Min>::run;
    row[4] = Fold<Wraps, Avg<S>>::run;
    row[5] = Fold<Wraps, PreMulSum>::run;
  }
};

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
  IntegerRow<int8_t, uint8_t>::fill(table, DataType::kInt8);
  IntegerRow<uint8_t, uint8_t>::fill(table, DataType::kUint8);
  IntegerRow<int32_t, uint32_t>::fill(table, DataType::kInt32);
  IntegerRow<uint32_t, uint32_t>::fill(table, DataType::kUint32);
  IntegerRow<int64_t, uint64_t>::fill(table, DataType::kInt64);
  IntegerRow<uint64_t, uint64_t>::fill(table, DataType::kUint64);
  fillFloats<Direct<float>, float, Direct<float>, Max, Min>(table, DataType::kFloat32);
  fillFloats<Direct<double>, double, Direct<double>, Max, Min>(table, DataType::kFloat64);
  fillSmallFloats<Half, int16_t>(table, DataType::kFloat16);
  fillSmallFloats<Brain, int16_t>(table, DataType::kBfloat16);
  fillSmallFloats<Float8e4m3, int8_t>(table, DataType::kFloat8e4m3);
  fillSmallFloats<Float8e5m2, int8_t>(table, DataType::kFloat8e5m2);
  table.copy = copyAll;
  return table;
}
