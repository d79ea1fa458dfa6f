// SPDX-License-Identifier: Apache-2.0
// What the kernels must compute, written to be obviously right: one element at a time, conversions
// by arithmetic on exact doubles and by search among all values of a format. Shares nothing with
// the library but the names of types and ops. For tests only; slow.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "base/types.h"

namespace flexlink::reference {

struct SmallFormat {
  int expBits;
  int manBits;
  bool hasInfinity;
  bool saturates;
  uint32_t nan;

  int bias() const { return (1 << (expBits - 1)) - 1; }
  int signBit() const { return expBits + manBits; }
  uint32_t signMask() const { return 1u << signBit(); }
  // The largest code without a sign whose value is finite.
  uint32_t maxFinite() const {
    return hasInfinity ? (((1u << expBits) - 1) << manBits) - 1 : signMask() - 2;
  }
};

inline bool isSmallFloat(DataType type) {
  return type == DataType::kFloat16 || type == DataType::kBfloat16 ||
         type == DataType::kFloat8e4m3 || type == DataType::kFloat8e5m2;
}

inline bool isFloat(DataType type) {
  return isSmallFloat(type) || type == DataType::kFloat32 || type == DataType::kFloat64;
}

inline SmallFormat formatOf(DataType type) {
  switch (type) {
    case DataType::kFloat16:
      return {5, 10, true, false, 0x7e00};
    case DataType::kBfloat16:
      return {8, 7, true, false, 0x7fc0};
    case DataType::kFloat8e4m3:
      return {4, 3, false, true, 0x7f};
    default:
      return {5, 2, true, true, 0x7f};
  }
}

inline double decodeSmall(DataType type, uint32_t bits) {
  const SmallFormat f = formatOf(type);
  const uint32_t magnitude = bits & (f.signMask() - 1);
  const double sign = (bits & f.signMask()) != 0 ? -1.0 : 1.0;
  if (magnitude > f.maxFinite()) {
    const bool infinite = f.hasInfinity && magnitude == f.maxFinite() + 1;
    return infinite ? sign * std::numeric_limits<double>::infinity()
                    : std::numeric_limits<double>::quiet_NaN();
  }
  const int exponent = static_cast<int>(magnitude >> f.manBits);
  const double fraction = magnitude & ((1u << f.manBits) - 1);
  const double one = 1u << f.manBits;
  if (exponent == 0) return sign * std::ldexp(fraction / one, 1 - f.bias());
  return sign * std::ldexp(1 + fraction / one, exponent - f.bias());
}

// Nearest value, ties to the even code; beyond the range as the format says.
inline uint32_t encodeSmall(DataType type, double x) {
  const SmallFormat f = formatOf(type);
  if (std::isnan(x)) return f.nan;
  const uint32_t sign = std::signbit(x) ? f.signMask() : 0;
  const double magnitude = std::fabs(x);
  uint32_t low = 0;  // the last code whose value is <= magnitude
  uint32_t end = f.maxFinite() + 1;
  while (end - low > 1) {
    const uint32_t middle = low + (end - low) / 2;
    (decodeSmall(type, middle) <= magnitude ? low : end) = middle;
  }
  const double below = decodeSmall(type, low);
  if (low == f.maxFinite()) {
    if (f.saturates) return sign | low;
    const double step = below - decodeSmall(type, low - 1);
    return sign | (magnitude < below + step / 2 ? low : low + 1);
  }
  const double down = magnitude - below;
  const double up = decodeSmall(type, low + 1) - magnitude;
  if (down == up) return sign | (low % 2 == 0 ? low : low + 1);
  return sign | (down < up ? low : low + 1);
}

// Element i of a buffer, in the low bytes.
inline uint64_t elementBits(DataType type, const void* buffer, size_t i) {
  uint64_t bits = 0;
  const size_t size = typeSize(type);
  std::memcpy(&bits, static_cast<const char*>(buffer) + i * size, size);
  return bits;
}

inline double toDouble(DataType type, uint64_t bits) {
  if (isSmallFloat(type)) return decodeSmall(type, static_cast<uint32_t>(bits));
  if (type == DataType::kFloat32) {
    float f;
    std::memcpy(&f, &bits, sizeof(f));
    return f;
  }
  double d;
  std::memcpy(&d, &bits, sizeof(d));
  return d;
}

inline uint64_t fromDouble(DataType type, double x) {
  if (isSmallFloat(type)) return encodeSmall(type, x);
  uint64_t bits = 0;
  if (type == DataType::kFloat32) {
    const float f = static_cast<float>(x);
    std::memcpy(&bits, &f, sizeof(f));
  } else {
    std::memcpy(&bits, &x, sizeof(x));
  }
  return bits;
}

inline int64_t toSigned(DataType type, uint64_t bits) {
  const int unused = 64 - 8 * static_cast<int>(typeSize(type));
  return static_cast<int64_t>(bits << unused) >> unused;
}

inline bool isSigned(DataType type) {
  return type == DataType::kInt8 || type == DataType::kInt32 || type == DataType::kInt64;
}

// Is right > left, as numbers?
inline bool greater(DataType type, uint64_t right, uint64_t left) {
  if (isFloat(type)) return toDouble(type, right) > toDouble(type, left);
  if (isSigned(type)) return toSigned(type, right) > toSigned(type, left);
  return right > left;
}

// One rounding to float32 (float64: none): volatile, so that no compiler fuses two operations.
inline double rounded(DataType type, double x) {
  volatile double once = x;
  if (type == DataType::kFloat64) return once;
  volatile float f = static_cast<float>(once);
  return f;
}

// x + y and x * y of two float32 values are exact or rounded harmlessly in double: 53 >= 2 * 24 + 2
// bits, so that rounding to double and then to float32 equals one rounding.
inline uint64_t foldFloat(DataType type, ReduceOp op, const std::vector<uint64_t>& values,
                          const std::vector<uint64_t>& scalars, int divisor) {
  double acc = 0;
  for (size_t k = 0; k < values.size(); ++k) {
    double x = toDouble(type, values[k]);
    if (op == ReduceOp::kPreMulSum) x = rounded(type, x * toDouble(type, scalars[k]));
    if (k == 0) {
      acc = x;
    } else {
      acc = rounded(type, op == ReduceOp::kProd ? acc * x : acc + x);
    }
  }
  if (op == ReduceOp::kAvg) acc = rounded(type, acc / rounded(type, divisor));
  return fromDouble(type, acc);
}

inline uint64_t foldInteger(DataType type, ReduceOp op, const std::vector<uint64_t>& values,
                            const std::vector<uint64_t>& scalars, int divisor) {
  const uint64_t mask = ~uint64_t{0} >> (64 - 8 * typeSize(type));
  uint64_t acc = 0;
  for (size_t k = 0; k < values.size(); ++k) {
    const uint64_t x = op == ReduceOp::kPreMulSum ? values[k] * scalars[k] : values[k];
    acc = k == 0                    ? x
          : op == ReduceOp::kProd   ? acc * x
          : op == ReduceOp::kBitAnd ? acc & x
          : op == ReduceOp::kBitOr  ? acc | x
          : op == ReduceOp::kBitXor ? acc ^ x
                                    : acc + x;
  }
  acc &= mask;
  if (op == ReduceOp::kAvg) {
    acc = isSigned(type) ? static_cast<uint64_t>(toSigned(type, acc) / divisor)
                         : acc / static_cast<uint64_t>(divisor);
  }
  return acc & mask;
}

// The bits that one element of the result must have. values: that element of each source.
inline uint64_t fold(DataType type, ReduceOp op, const std::vector<uint64_t>& values,
                     const std::vector<uint64_t>& scalars, int divisor) {
  if (op == ReduceOp::kMax || op == ReduceOp::kMin) {
    uint64_t acc = values[0];
    for (const uint64_t x : values) {
      const bool better = op == ReduceOp::kMax ? greater(type, x, acc) : greater(type, acc, x);
      if (better) acc = x;
    }
    return acc;
  }
  return isFloat(type) ? foldFloat(type, op, values, scalars, divisor)
                       : foldInteger(type, op, values, scalars, divisor);
}

inline bool isNan(DataType type, uint64_t bits) {
  return isFloat(type) && std::isnan(toDouble(type, bits));
}

}  // namespace flexlink::reference
