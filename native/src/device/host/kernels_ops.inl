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
// float64. load and pack go between one register of memory and kParts accumulators.
template <typename T>
struct Direct {
  using Stored = T;
  using Acc = Reg<T>;
  static constexpr int kParts = 1;

  static FLEXLINK_INLINE void load(const char* from, Acc* acc) { acc[0] = loadVec<Acc>(from); }
  static FLEXLINK_INLINE Acc pack(const Acc* acc) { return acc[0]; }
};

// Stored in 16 or 8 bits, accumulated in float32. Accumulator p holds every kParts-th element, from
// the p-th on: shifts put them there and back, which is cheaper everywhere than to keep the order.
template <class Format>
struct Widened {
  using Stored = typename Format::Stored;
  using Acc = Float;
  static constexpr int kParts = 4 / static_cast<int>(sizeof(Stored));
  static constexpr int kBits = 32 / kParts;

  static FLEXLINK_INLINE void load(const char* from, Acc* acc) {
    const Word words = loadVec<Word>(from);
    for (int p = 0; p < kParts; ++p) {
      acc[p] = Format::fromTop((Bits)(words << (32 - kBits * (p + 1))));
    }
  }
  static FLEXLINK_INLINE Bits pack(const Acc* acc) {
    Bits words = Format::toCode(acc[0]);
    for (int p = 1; p < kParts; ++p) words |= Format::toCode(acc[p]) << (kBits * p);
    return words;
  }
};

template <>
struct Widened<Brain> {
  using Stored = uint16_t;
  using Acc = Float;
  static constexpr int kParts = 2;

  static FLEXLINK_INLINE void load(const char* from, Acc* acc) {
    const Word words = loadVec<Word>(from);
    acc[0] = (Acc)(words << 16);
    acc[1] = (Acc)(words & 0xffff0000);
  }
  static FLEXLINK_INLINE Word pack(const Acc* acc) {
    return Brain::roundToTop(acc[0]) >> 16 | (Brain::roundToTop(acc[1]) & 0xffff0000);
  }
};

#if defined(__F16C__)
// The CPU converts; it does keep the order.
template <>
struct Widened<Half> {
  using Stored = uint16_t;
  using Acc = Float;
  static constexpr int kParts = 2;

#if defined(__AVX512F__)
  static FLEXLINK_INLINE void load(const char* from, Acc* acc) {
    acc[0] = (Acc)_mm512_cvtph_ps(loadVec<__m256i>(from));
    acc[1] = (Acc)_mm512_cvtph_ps(loadVec<__m256i>(from + 32));
  }
  static FLEXLINK_INLINE Bits pack(const Acc* acc) {
    const __m256i low = _mm512_cvtps_ph((__m512)acc[0], _MM_FROUND_TO_NEAREST_INT);
    const __m256i high = _mm512_cvtps_ph((__m512)acc[1], _MM_FROUND_TO_NEAREST_INT);
    return (Bits)_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
  }
#else
  static FLEXLINK_INLINE void load(const char* from, Acc* acc) {
    acc[0] = (Acc)_mm256_cvtph_ps(loadVec<__m128i>(from));
    acc[1] = (Acc)_mm256_cvtph_ps(loadVec<__m128i>(from + 16));
  }
  static FLEXLINK_INLINE Bits pack(const Acc* acc) {
    const __m128i low = _mm256_cvtps_ph((__m256)acc[0], _MM_FROUND_TO_NEAREST_INT);
    const __m128i high = _mm256_cvtps_ph((__m256)acc[1], _MM_FROUND_TO_NEAREST_INT);
    return (Bits)_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
  }
#endif
};
#endif

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

// The type in which a quotient of S by an int, cut toward zero, is exact. A float that holds both
// numbers will do: a quotient below an integer q stays below it by at least one part in S's range.
// And it is fast: compilers vectorise it.
template <typename S>
using QuotientOf =
    Select<S(0.5) != S(0), S,
           Select<sizeof(S) == 1, float,
                  Select<sizeof(S) == 4, double, Select<(S(-1) < S(0)), int64_t, uint64_t>>>>;

// Sums like Sum; the last step divides what the lanes hold as S.
template <typename S>
struct Avg : Sum {
  static constexpr bool kDivides = true;

  template <typename A>
  static FLEXLINK_INLINE A divide(A sum, int divisor) {
    using Quotient = QuotientOf<S>;
    if constexpr (S(0.5) != S(0)) {
      return sum / static_cast<S>(divisor);
    } else {
      S lanes[kLanesOf<S>];
      __builtin_memcpy(lanes, &sum, sizeof(sum));
      for (S& lane : lanes) {
        lane = static_cast<S>(static_cast<Quotient>(lane) / static_cast<Quotient>(divisor));
      }
      return loadVec<A>(reinterpret_cast<const char*>(lanes));
    }
  }
};

struct PreMulSum : Sum {
  static constexpr bool kScales = true;
};

struct BitAnd : Sum {
  template <typename A>
  static FLEXLINK_INLINE A combine(A left, A right) {
    return left & right;
  }
};

struct BitOr : Sum {
  template <typename A>
  static FLEXLINK_INLINE A combine(A left, A right) {
    return left | right;
  }
};

struct BitXor : Sum {
  template <typename A>
  static FLEXLINK_INLINE A combine(A left, A right) {
    return left ^ right;
  }
};

// A scalar (the bits of the stored type) in every lane.
template <class Num>
FLEXLINK_INLINE typename Num::Acc splatScalar(uint64_t bits) {
  typename Num::Stored scalar;
  __builtin_memcpy(&scalar, &bits, sizeof(scalar));
  const auto splat = scalar - Reg<typename Num::Stored>{};
  typename Num::Acc parts[Num::kParts];
  Num::load(reinterpret_cast<const char*>(&splat), parts);
  return parts[0];
}
