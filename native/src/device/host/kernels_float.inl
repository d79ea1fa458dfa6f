// SPDX-License-Identifier: Apache-2.0
// float16, bfloat16 and the two float8 formats to float32 and back, a register at a time. Rounding
// is to nearest even; nothing depends on denormal floats, so a thread's flush-to-zero mode changes
// no bit. Included only by kernels_<isa>.cc, inside their anonymous namespace.
//
// float8 follows OCP with the saturation that NVIDIA's own conversions default to:
//   e4m3: no infinity, 0x7f and 0xff are NaN, finite to 448; beyond that and infinity give +-448.
//   e5m2: has infinity, finite to 57344; beyond that and infinity give +-57344.
//   NaN gives 0x7f in both.
#pragma once

#include "device/host/kernels_lanes.inl"

using Float = Reg<float>;
using Bits = Reg<int32_t>;
inline constexpr int kFloatLanes = kLanesOf<float>;

FLEXLINK_INLINE Bits splatBits(int32_t bits) { return bits - Bits{}; }
FLEXLINK_INLINE Bits select(Bits mask, Bits yes, Bits no) { return (mask & yes) | (~mask & no); }

// A small IEEE-like format of kExp exponent bits and kMan mantissa bits below its sign.
template <int kExp, int kMan>
struct SmallFloat {
  static constexpr int kBias = (1 << (kExp - 1)) - 1;
  static constexpr int kShift = 23 - kMan;
  static constexpr int kSignBit = kExp + kMan;
  static constexpr int32_t kMagnitude = (1 << kSignBit) - 1;
  static constexpr int32_t kRebias = (127 - kBias) << 23;     // added to a float's exponent
  static constexpr int32_t kMinNormal = (128 - kBias) << 23;  // float32 bits of 2^(1 - kBias)

  // The magnitude of finite `x` as float32 bits.
  static FLEXLINK_INLINE Bits widen(Bits magnitude) {
    const Bits shifted = magnitude << kShift;
    // A denormal is placed behind the leading one of 2^(1-kBias), which is then subtracted.
    const Float base = (Float)splatBits(kMinNormal);
    const Bits denormal = (Bits)((Float)(shifted + kMinNormal) - base);
    return select(magnitude < (1 << kMan), denormal, shifted + kRebias);
  }

  // Rounds a magnitude in float32 bits that is not NaN and not far out of range.
  static FLEXLINK_INLINE Bits round(Bits magnitude) {
    constexpr int32_t kHalfBelow = (1 << (kShift - 1)) - 1;
    const Bits odd = (magnitude >> kShift) & 1;
    const Bits normal = (magnitude - kRebias + kHalfBelow + odd) >> kShift;
    // Adding a float whose last place is this format's denormal step lets the CPU round.
    constexpr int32_t kStep = (127 - kBias + kShift + 1) << 23;
    const Float sum = (Float)magnitude + (Float)splatBits(kStep);
    return select(magnitude < kMinNormal, (Bits)sum - kStep, normal);
  }

  static FLEXLINK_INLINE Bits signOf(Bits narrow) {
    return (narrow & (1 << kSignBit)) << (31 - kSignBit);
  }
  static FLEXLINK_INLINE Bits signTo(Bits wide) {
    return (Bits)((Reg<uint32_t>)wide >> (31 - kSignBit)) & (1 << kSignBit);
  }
};

struct Half {
  using Stored = uint16_t;
  using Format = SmallFloat<5, 10>;

  static FLEXLINK_INLINE Float toFloat(Vec<uint16_t, kFloatLanes> x) {
#if defined(__AVX512F__)
    return (Float)_mm512_cvtph_ps((__m256i)x);
#elif defined(__F16C__)
    return (Float)_mm256_cvtph_ps((__m128i)x);
#else
    const Bits bits = __builtin_convertvector(x, Bits);
    const Bits magnitude = bits & Format::kMagnitude;
    const Bits special = (magnitude << Format::kShift) | 0x7f800000;
    return (Float)(select(magnitude >= 0x7c00, special, Format::widen(magnitude)) |
                   Format::signOf(bits));
#endif
  }

  static FLEXLINK_INLINE Vec<uint16_t, kFloatLanes> fromFloat(Float f) {
#if defined(__AVX512F__)
    return (Vec<uint16_t, kFloatLanes>)_mm512_cvtps_ph((__m512)f, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__F16C__)
    return (Vec<uint16_t, kFloatLanes>)_mm256_cvtps_ph((__m256)f, _MM_FROUND_TO_NEAREST_INT);
#else
    const Bits bits = (Bits)f;
    const Bits magnitude = bits & 0x7fffffff;
    const Bits special = select(magnitude > 0x7f800000, splatBits(0x7e00), splatBits(0x7c00));
    const Bits half = select(magnitude >= 0x47800000, special, Format::round(magnitude));
    return __builtin_convertvector(half | Format::signTo(bits), Vec<uint16_t, kFloatLanes>);
#endif
  }
};

struct Brain {
  using Stored = uint16_t;

  static FLEXLINK_INLINE Float toFloat(Vec<uint16_t, kFloatLanes> x) {
    return (Float)(__builtin_convertvector(x, Bits) << 16);
  }

  // Not the CPU's own conversion (AVX512_BF16): it flushes denormals.
  static FLEXLINK_INLINE Vec<uint16_t, kFloatLanes> fromFloat(Float f) {
    const auto bits = (Reg<uint32_t>)f;
    const auto rounded = (Bits)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    const auto nan = (Bits)(bits >> 16) | 0x40;
    const Bits isNan = ((Bits)f & 0x7fffffff) > 0x7f800000;
    return __builtin_convertvector(select(isNan, nan, rounded), Vec<uint16_t, kFloatLanes>);
  }
};

// kMax: float32 bits of the largest finite value; kFirstSpecial: the first magnitude that is none.
template <int kExp, int kMan, int32_t kMax, int32_t kFirstSpecial>
struct Float8 {
  using Stored = uint8_t;
  using Format = SmallFloat<kExp, kMan>;

  static FLEXLINK_INLINE Float toFloat(Vec<uint8_t, kFloatLanes> x) {
    const Bits bits = __builtin_convertvector(x, Bits);
    const Bits magnitude = bits & Format::kMagnitude;
    const Bits fraction = (magnitude - kFirstSpecial) << Format::kShift;
    // e4m3's only special magnitude is NaN; e5m2's first one is infinity.
    const Bits special = kExp == 4 ? splatBits(0x7fc00000) : fraction | 0x7f800000;
    return (Float)(select(magnitude >= kFirstSpecial, special, Format::widen(magnitude)) |
                   Format::signOf(bits));
  }

  static FLEXLINK_INLINE Vec<uint8_t, kFloatLanes> fromFloat(Float f) {
    const Bits bits = (Bits)f;
    const Bits magnitude = bits & 0x7fffffff;
    const Bits clamped = select(magnitude > kMax, splatBits(kMax), magnitude);
    const Bits number = Format::round(clamped) | Format::signTo(bits);
    const Bits out = select(magnitude > 0x7f800000, splatBits(0x7f), number);
    return __builtin_convertvector(out, Vec<uint8_t, kFloatLanes>);
  }
};
using Float8e4m3 = Float8<4, 3, 0x43e00000, 0x7f>;
using Float8e5m2 = Float8<5, 2, 0x47600000, 0x7c>;
