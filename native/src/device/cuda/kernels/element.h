// SPDX-License-Identifier: Apache-2.0
// One element: how each type is stored and accumulated (Num), and what an op does with two of them
// (Op). The same source is compiled by nvcc for the GPU and by the C++ compiler for the test that
// holds it to the bits of device/host. No memory, no loop, no fast-math function; compiled without
// fused multiply-adds and without flushing denormals.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define FLEXLINK_HD __host__ __device__ __forceinline__
#else
#define FLEXLINK_HD inline
#endif

namespace flexlink::cuda {

template <typename To, typename From>
FLEXLINK_HD To bitsAs(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

// Accumulated as it is stored: integers (unsigned ones also for signed sums: they wrap), float32,
// float64.
template <typename T>
struct Direct {
  using Stored = T;
  using Acc = T;
  static FLEXLINK_HD Acc widen(Stored stored) { return stored; }
  static FLEXLINK_HD Stored narrow(Acc acc) { return acc; }
};

// Stored in kExp + kMan + 1 bits, accumulated in float32. kFirstSpecial: the first magnitude that
// is not finite.
template <typename T, int kExp, int kMan, uint32_t kFirstSpecial>
struct SmallFloat {
  using Stored = T;
  using Acc = float;
  static constexpr int kBias = (1 << (kExp - 1)) - 1;
  static constexpr int kSignBit = kExp + kMan;
  static constexpr int kShift = 23 - kMan;
  static constexpr uint32_t kRebias = static_cast<uint32_t>(127 - kBias) << 23;
  static constexpr uint32_t kMinNormal = static_cast<uint32_t>(128 - kBias) << 23;  // 2^(1-kBias)

  static FLEXLINK_HD float widen(T code) {
    const uint32_t magnitude = code & ((1u << kSignBit) - 1);
    const uint32_t sign = static_cast<uint32_t>(code >> kSignBit) << 31;
    // With float32's bias the value is too small by a power of two: multiplying by it is exact,
    // and brings denormals to their place.
    const float scaled = bitsAs<float>(magnitude << kShift) *
                         bitsAs<float>(static_cast<uint32_t>(254 - kBias) << 23);
    const uint32_t special = (magnitude << kShift) | 0x7f800000;
    return bitsAs<float>((magnitude >= kFirstSpecial ? special : bitsAs<uint32_t>(scaled)) | sign);
  }

  // The code of a float32 magnitude that is not NaN and not far out of range, to nearest even.
  static FLEXLINK_HD uint32_t round(uint32_t magnitude) {
    constexpr uint32_t kHalfBelow = (1u << (kShift - 1)) - 1;
    const uint32_t odd = (magnitude >> kShift) & 1;
    const uint32_t normal = (magnitude + (kHalfBelow - kRebias) + odd) >> kShift;
    // Adding a float whose last place is this format's denormal step rounds in hardware.
    constexpr uint32_t kStep = static_cast<uint32_t>(127 - kBias + kShift + 1) << 23;
    const uint32_t denormal =
        bitsAs<uint32_t>(bitsAs<float>(magnitude) + bitsAs<float>(kStep)) - kStep;
    return magnitude < kMinNormal ? denormal : normal;
  }

  static FLEXLINK_HD uint32_t signCode(uint32_t wide) { return wide >> 31 << kSignBit; }
};

struct Half : SmallFloat<uint16_t, 5, 10, 0x7c00> {
#if defined(__CUDA_ARCH__)
  // IEEE 754 fixes these conversions but for NaN payloads: the GPU's own are the same bits.
  static __device__ __forceinline__ float widen(uint16_t code) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(code));
    return wide;
  }
  static __device__ __forceinline__ uint16_t narrow(float f) {
    uint16_t code;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(code) : "f"(f));
    return code;
  }
#else
  static FLEXLINK_HD uint16_t narrow(float f) {
    const uint32_t magnitude = bitsAs<uint32_t>(f) & 0x7fffffff;
    const uint32_t special = f != f ? 0x7e00 : 0x7c00;
    const uint32_t code = magnitude >= 0x47800000 ? special : round(magnitude);  // 65536
    return static_cast<uint16_t>(code | signCode(bitsAs<uint32_t>(f)));
  }
#endif
};

struct Brain {
  using Stored = uint16_t;
  using Acc = float;
  static FLEXLINK_HD float widen(uint16_t code) {
    return bitsAs<float>(static_cast<uint32_t>(code) << 16);
  }
  static FLEXLINK_HD uint16_t narrow(float f) {
    const uint32_t bits = bitsAs<uint32_t>(f);
    const uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
    return static_cast<uint16_t>((f != f ? bits | 0x400000 : rounded) >> 16);
  }
};

// Saturates: kMax are the float32 bits of the largest finite value.
template <int kExp, int kMan, uint32_t kMax, uint32_t kFirstSpecial>
struct Float8 : SmallFloat<uint8_t, kExp, kMan, kFirstSpecial> {
  using Format = SmallFloat<uint8_t, kExp, kMan, kFirstSpecial>;
  static FLEXLINK_HD uint8_t narrow(float f) {
    const uint32_t magnitude = bitsAs<uint32_t>(f) & 0x7fffffff;
    const uint32_t code =
        Format::round(magnitude > kMax ? kMax : magnitude) | Format::signCode(bitsAs<uint32_t>(f));
    return static_cast<uint8_t>(f != f ? 0x7f : code);
  }
};
using Float8e4m3 = Float8<4, 3, 0x43e00000, 0x7f>;
using Float8e5m2 = Float8<5, 2, 0x47600000, 0x7c>;

struct Sum {
  static constexpr bool kScales = false;
  template <typename A>
  static FLEXLINK_HD A combine(A left, A right) {
    return static_cast<A>(left + right);
  }
  template <typename A>
  static FLEXLINK_HD A finish(A acc, int /*divisor*/) {
    return acc;
  }
};

// int would overflow where two 16-bit numbers are multiplied, but there are none.
struct Prod : Sum {
  template <typename A>
  static FLEXLINK_HD A combine(A left, A right) {
    return static_cast<A>(left * right);
  }
};

// The left operand stays when both are equal (-0 and +0) or when they do not compare (NaN).
struct Max : Sum {
  template <typename A>
  static FLEXLINK_HD A combine(A left, A right) {
    return right > left ? right : left;
  }
};

struct Min : Sum {
  template <typename A>
  static FLEXLINK_HD A combine(A left, A right) {
    return right < left ? right : left;
  }
};

// Floats of sign and magnitude compared as integers, without widening; T is the signed integer of
// the format's size.
template <typename T>
FLEXLINK_HD int orderKey(T code) {
  constexpr int kSignBit = 8 * static_cast<int>(sizeof(T)) - 1;
  const int magnitude = code & ((1 << kSignBit) - 1);
  return code < 0 ? -magnitude : magnitude;  // both zeros: 0
}

struct MaxBits : Sum {
  template <typename T>
  static FLEXLINK_HD T combine(T left, T right) {
    return orderKey(right) > orderKey(left) ? right : left;
  }
};

struct MinBits : Sum {
  template <typename T>
  static FLEXLINK_HD T combine(T left, T right) {
    return orderKey(right) < orderKey(left) ? right : left;
  }
};

// The type in which S is divided by an int: wide enough for both, toward zero for integers.
template <typename S>
struct QuotientOf {
  using Type = S;
};
template <>
struct QuotientOf<int8_t> {
  using Type = int32_t;
};
template <>
struct QuotientOf<uint8_t> {
  using Type = int32_t;
};

// Sums like Sum; the last step divides what is accumulated as S.
template <typename S>
struct Avg : Sum {
  template <typename A>
  static FLEXLINK_HD A finish(A acc, int divisor) {
    using Quotient = typename QuotientOf<S>::Type;
    return static_cast<A>(static_cast<Quotient>(static_cast<S>(acc)) /
                          static_cast<Quotient>(divisor));
  }
};

struct PreMulSum : Sum {
  static constexpr bool kScales = true;
};

struct BitAnd : Sum {
  template <typename A>
  static FLEXLINK_HD A combine(A left, A right) {
    return static_cast<A>(left & right);
  }
};

struct BitOr : Sum {
  template <typename A>
  static FLEXLINK_HD A combine(A left, A right) {
    return static_cast<A>(left | right);
  }
};

struct BitXor : Sum {
  template <typename A>
  static FLEXLINK_HD A combine(A left, A right) {
    return static_cast<A>(left ^ right);
  }
};

}  // namespace flexlink::cuda
