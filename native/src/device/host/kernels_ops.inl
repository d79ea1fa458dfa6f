// SPDX-License-Identifier: Apache-2.0
// What one element is (Num: how it is stored, what it is accumulated in) and what an op does with
// two of them (Op). No memory beyond one register here, no loop. Included only by kernels_<isa>.cc,
// inside their anonymous namespace.
#pragma once

#include "device/host/kernels_float.inl"

template <bool kFirst, typename A, typename B>
struct SelectOf {
  using Type = A;
};
template <typename A, typename B>
struct SelectOf<false, A, B> {
  using Type = B;
};
template <bool kFirst, typename A, typename B>
using Select = typename SelectOf<kFirst, A, B>::Type;

// Accumulated as it is stored: integers (unsigned ones also for signed sums: they wrap), float32,
// float64.
template <typename T>
struct Direct {
  using Stored = T;
  using Acc = Reg<T>;
  static constexpr int kStoredBytes = kRegisterBytes;

  static FLEXLINK_INLINE Acc widen(Acc x) { return x; }
  static FLEXLINK_INLINE Acc narrow(Acc x) { return x; }
};

// Stored in 16 or 8 bits, accumulated in float32.
template <class Format>
struct Widened {
  using Stored = typename Format::Stored;
  using Acc = Float;
  static constexpr int kStoredBytes = kFloatLanes * static_cast<int>(sizeof(Stored));

  static FLEXLINK_INLINE Acc widen(Vec<Stored, kFloatLanes> x) { return Format::toFloat(x); }
  static FLEXLINK_INLINE Vec<Stored, kFloatLanes> narrow(Acc x) { return Format::fromFloat(x); }
};

struct Sum {
  static constexpr bool kScales = false;
  static constexpr bool kDivides = false;
  template <typename A>
  static FLEXLINK_INLINE A combine(A left, A right) {
    return left + right;
  }
};

struct Prod : Sum {
  template <typename A>
  static FLEXLINK_INLINE A combine(A left, A right) {
    return left * right;
  }
};

// The left operand stays when both are equal (-0 and +0) or when they do not compare (NaN).
struct Max : Sum {
  template <typename A>
  static FLEXLINK_INLINE A combine(A left, A right) {
    return right > left ? right : left;
  }
};

struct Min : Sum {
  template <typename A>
  static FLEXLINK_INLINE A combine(A left, A right) {
    return right < left ? right : left;
  }
};

// Floats of sign and magnitude compared as integers, without widening: the result is one of the
// operands, bit by bit. T is the signed integer of the format's size.
template <typename T>
FLEXLINK_INLINE Reg<T> orderKey(Reg<T> x) {
  constexpr int kSignBit = 8 * static_cast<int>(sizeof(T)) - 1;
  const Reg<T> sign = x >> kSignBit;  // all ones below zero
  const Reg<T> magnitude = x & static_cast<T>((1u << kSignBit) - 1);
  return (magnitude ^ sign) - sign;  // both zeros: 0
}

template <typename T>
struct MaxBits : Sum {
  static FLEXLINK_INLINE Reg<T> combine(Reg<T> left, Reg<T> right) {
    return orderKey<T>(right) > orderKey<T>(left) ? right : left;
  }
};

template <typename T>
struct MinBits : Sum {
  static FLEXLINK_INLINE Reg<T> combine(Reg<T> left, Reg<T> right) {
    return orderKey<T>(right) < orderKey<T>(left) ? right : left;
  }
};

// Sums like Sum; the last step divides what the lanes hold as S.
template <typename S>
struct Avg : Sum {
  static constexpr bool kDivides = true;

  // Integers divide as 64-bit ones: a divisor need not fit in S.
  template <typename A>
  static FLEXLINK_INLINE A divide(A sum, int divisor) {
    if constexpr (S(0.5) != S(0)) {
      return sum / static_cast<S>(divisor);
    } else {
      using Wide = Select<(S(-1) < S(0)), int64_t, uint64_t>;
      const auto lanes = (Reg<S>)sum;
      Reg<S> quotient = lanes;
      for (int i = 0; i < kLanesOf<S>; ++i) {
        quotient[i] = static_cast<S>(static_cast<Wide>(lanes[i]) / static_cast<Wide>(divisor));
      }
      return (A)quotient;
    }
  }
};

struct PreMulSum : Sum {
  static constexpr bool kScales = true;
};

// A scalar as ncclRedOpCreatePreMulSum keeps it (the bits of the stored type) in every lane.
template <class Num>
FLEXLINK_INLINE typename Num::Acc splatScalar(uint64_t bits) {
  typename Num::Stored scalar;
  __builtin_memcpy(&scalar, &bits, sizeof(scalar));
  using Stored = Vec<typename Num::Stored, Num::kStoredBytes / sizeof(scalar)>;
  return Num::widen(scalar - Stored{});
}
