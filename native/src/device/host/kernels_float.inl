// SPDX-License-Identifier: Apache-2.0
// float16, bfloat16 and the two float8 formats to float32 and back, a register at a time. Rounding
// is to nearest even; no conversion passes through a denormal float, which a thread's flush-to-zero
// mode would change. Included only by kernels_<isa>.cc, inside their anonymous namespace.
//
// float8 follows OCP with the saturation that NVIDIA's own conversions default to:
//   e4m3: no infinity, 0x7f and 0xff are NaN, finite to 448; beyond that and infinity give +-448.
//   e5m2: has infinity, finite to 57344; beyond that and infinity give +-57344.
//   NaN gives 0x7f in both.
#pragma once

#include "device/host/kernels_lanes.inl"

using Float = Reg<float>;
using Bits = Reg<int32_t>;  // signed: comparisons are one instruction everywhere
using Word = Reg<uint32_t>;

inline constexpr int32_t kAbsBits = 0x7fffffff;
inline constexpr int32_t kInfinityBits = 0x7f800000;

FLEXLINK_INLINE Bits splatBits(int32_t bits) { return bits - Bits{}; }

// A format whose magnitude has kExp exponent and kMan mantissa bits. In what is built on it,
// fromTop takes a code in the top bits of each lane, whatever is below it; toCode gives it in the
// low bits, the rest is zero.
template <int kExp, int kMan>
struct SmallFloat {
  static constexpr int kBias = (1 << (kExp - 1)) - 1;
  static constexpr int kSignBit = kExp + kMan;
  static constexpr int kShift = 23 - kMan;
  static constexpr int32_t kRebias = (127 - kBias) << 23;     // between the two exponents
  static constexpr int32_t kMinNormal = (128 - kBias) << 23;  // float32 bits of 2^(1 - kBias)
  static constexpr int32_t kMagnitudeAtTop = ((1 << kSignBit) - 1) << (31 - kSignBit);

  // A magnitude, moved to where float32 has its exponent and mantissa.
  static FLEXLINK_INLINE Bits magnitudeOf(Bits top) {
    return (top & kMagnitudeAtTop) >> (31 - kSignBit - kShift);
  }

  // The float32 bits of a finite magnitude.
  static FLEXLINK_INLINE Bits widen(Bits magnitude) {
    // A denormal is placed behind the leading one of 2^(1-kBias), which is then subtracted.
    const Float behindOne = (Float)(magnitude + kMinNormal);
    const Bits denormal = (Bits)(behindOne - (Float)splatBits(kMinNormal));
    return magnitude < (1 << 23) ? denormal : magnitude + kRebias;
  }

  // The code of a float32 magnitude that is not NaN and not far out of range.
  static FLEXLINK_INLINE Bits round(Bits magnitude) {
    constexpr int32_t kHalfBelow = (1 << (kShift - 1)) - 1;
    const Bits odd = (magnitude >> kShift) & 1;
    const Bits normal = (magnitude + (kHalfBelow - kRebias) + odd) >> kShift;
    // Adding a float whose last place is this format's denormal step lets the CPU round.
    constexpr int32_t kStep = (127 - kBias + kShift + 1) << 23;
    const Bits denormal = (Bits)((Float)magnitude + (Float)splatBits(kStep)) - kStep;
    return magnitude < kMinNormal ? denormal : normal;
  }

  static FLEXLINK_INLINE Bits signCode(Bits wide) {
    return (Bits)((Word)wide >> (31 - kSignBit)) & (1 << kSignBit);
  }
};

struct Half : SmallFloat<5, 10> {
  using Stored = uint16_t;

  static FLEXLINK_INLINE Float fromTop(Bits top) {
    const Bits magnitude = magnitudeOf(top);
    const Bits special = magnitude | kInfinityBits;
    const Bits wide = magnitude >= (0x7c00 << kShift) ? special : widen(magnitude);
    return (Float)(wide | (top & ~kAbsBits));
  }

  static FLEXLINK_INLINE Bits toCode(Float f) {
    const Bits magnitude = (Bits)f & kAbsBits;
    const Bits special = f != f ? splatBits(0x7e00) : splatBits(0x7c00);
    const Bits code = magnitude >= 0x47800000 ? special : round(magnitude);  // 65536
    return code | signCode((Bits)f);
  }
};

struct Brain {
  using Stored = uint16_t;

  // Rounds into the top half of each lane; the low half is arbitrary. Not the CPU's own conversion
  // (AVX512_BF16): it flushes denormals.
  static FLEXLINK_INLINE Word roundToTop(Float f) {
    const auto bits = (Word)f;
    const Word rounded = bits + 0x7fff + ((bits >> 16) & 1);
    return f != f ? bits | 0x400000 : rounded;
  }
};

// kMax: float32 bits of the largest finite value; kFirstSpecial: the first magnitude that is none.
template <int kExp, int kMan, int32_t kMax, int32_t kFirstSpecial>
struct Float8 : SmallFloat<kExp, kMan> {
  using Stored = uint8_t;
  using Format = SmallFloat<kExp, kMan>;

  static FLEXLINK_INLINE Float fromTop(Bits top) {
    const Bits magnitude = Format::magnitudeOf(top);
    const Bits special = magnitude | kInfinityBits;  // e5m2's infinity has no mantissa, NaN has
    const Bits wide =
        magnitude >= (kFirstSpecial << Format::kShift) ? special : Format::widen(magnitude);
    return (Float)(wide | (top & ~kAbsBits));
  }

  static FLEXLINK_INLINE Bits toCode(Float f) {
    const Bits magnitude = (Bits)f & kAbsBits;
    const Bits clamped = magnitude > kMax ? splatBits(kMax) : magnitude;
    const Bits code = Format::round(clamped) | Format::signCode((Bits)f);
    return f != f ? splatBits(0x7f) : code;
  }
};
using Float8e4m3 = Float8<4, 3, 0x43e00000, 0x7f>;
using Float8e5m2 = Float8<5, 2, 0x47600000, 0x7c>;
