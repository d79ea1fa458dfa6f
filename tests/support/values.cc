// SPDX-License-Identifier: Apache-2.0
// Numbers of all twelve types and the reference fold.
#include "support/values.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

namespace ranktest {
namespace {

// The small floats by their fields. e4m3 has no infinity and one NaN pattern per sign.
struct Format {
  int exponentBits;
  int mantissaBits;
  bool hasInfinity;
};

Format formatOf(ncclDataType_t type) {
  switch (type) {
    case ncclFloat16:
      return {5, 10, true};
    case ncclBfloat16:
      return {8, 7, true};
    case ncclFloat8e4m3:
      return {4, 3, false};
    default:
      return {5, 2, true};  // ncclFloat8e5m2
  }
}

double decodeSmall(Bits bits, const Format& f) {
  const int bias = (1 << (f.exponentBits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> f.mantissaBits) & ((1 << f.exponentBits) - 1);
  const int mantissa = static_cast<int>(bits) & ((1 << f.mantissaBits) - 1);
  const bool negative = ((bits >> (f.exponentBits + f.mantissaBits)) & 1) != 0;
  const double scale = std::ldexp(1.0, -f.mantissaBits);
  const double magnitude = exponent == 0 ? std::ldexp(mantissa * scale, 1 - bias)
                                         : std::ldexp(1.0 + mantissa * scale, exponent - bias);
  return negative ? -magnitude : magnitude;
}

// Round to nearest even by scaling to units of the last place; inputs stay inside the finite range.
Bits encodeSmall(double value, const Format& f) {
  const int bias = (1 << (f.exponentBits - 1)) - 1;
  const Bits sign = std::signbit(value) ? Bits{1} << (f.exponentBits + f.mantissaBits) : 0;
  const double magnitude = std::fabs(value);
  if (magnitude == 0) return sign;
  int exponent = std::ilogb(magnitude);
  if (exponent < 1 - bias) exponent = 1 - bias;  // subnormal: the unit no longer shrinks
  // Exact: magnitude is a float32, the quotient has at most 24 significant bits.
  const auto units =
      static_cast<Bits>(std::nearbyint(std::ldexp(magnitude, f.mantissaBits - exponent)));
  // A carry out of the mantissa runs into the exponent, as it must.
  const Bits base = static_cast<Bits>(exponent + bias - 1) << f.mantissaBits;
  return sign | (base + units);
}

template <typename T>
T as(Bits bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <typename T>
Bits bitsOf(T value) {
  Bits bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

// Integers wrap around: the work is done unsigned and wide.
template <typename T>
Bits foldIntegers(const std::vector<Bits>& in, Op op, const std::vector<Bits>& scalars,
                  size_t divisor) {
  using U = std::make_unsigned_t<T>;
  const auto part = [&](size_t k) -> T {
    if (op != Op::kPreMulSum) return as<T>(in[k]);
    return static_cast<T>(static_cast<U>(in[k] * scalars[k]));
  };
  T acc = part(0);
  for (size_t k = 1; k < in.size(); ++k) {
    const T x = part(k);
    const uint64_t a = static_cast<U>(acc);
    const uint64_t b = static_cast<U>(x);
    switch (op) {
      case Op::kProd:
        acc = static_cast<T>(static_cast<U>(a * b));
        break;
      case Op::kMax:
        acc = x > acc ? x : acc;
        break;
      case Op::kMin:
        acc = x < acc ? x : acc;
        break;
      default:
        acc = static_cast<T>(static_cast<U>(a + b));
    }
  }
  if (op == Op::kAvg) acc = static_cast<T>(acc / static_cast<T>(divisor));
  return bitsOf(acc);
}

// One rounding for each step: the volatiles keep the compiler from contracting or widening.
template <typename T, typename Load>
T foldFloats(const std::vector<Bits>& in, Op op, const std::vector<Bits>& scalars, size_t divisor,
             Load load) {
  const auto part = [&](size_t k) -> T {
    if (op != Op::kPreMulSum) return load(in[k]);
    volatile T product = load(in[k]) * load(scalars[k]);
    return product;
  };
  volatile T acc = part(0);
  for (size_t k = 1; k < in.size(); ++k) {
    const T x = part(k);
    switch (op) {
      case Op::kProd:
        acc = acc * x;
        break;
      case Op::kMax:
        acc = x > acc ? x : acc;
        break;
      case Op::kMin:
        acc = x < acc ? x : acc;
        break;
      default:
        acc = acc + x;
    }
  }
  if (op == Op::kAvg) acc = acc / static_cast<T>(divisor);
  return acc;
}

}  // namespace

size_t typeBytes(ncclDataType_t type) {
  constexpr size_t kBytes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
  return kBytes[type];
}

const char* typeText(ncclDataType_t type) {
  constexpr const char* kNames[] = {"int8",    "uint8",   "int32",   "uint32",   "int64", "uint64",
                                    "float16", "float32", "float64", "bfloat16", "e4m3",  "e5m2"};
  return kNames[type];
}

const char* opText(Op op) {
  constexpr const char* kNames[] = {"sum", "prod", "max", "min", "avg", "premulsum"};
  return kNames[static_cast<int>(op)];
}

bool isInteger(ncclDataType_t type) { return type <= ncclUint64; }
bool isSigned(ncclDataType_t type) { return !isInteger(type) || (type % 2) == 0; }

Bits loadBits(const void* at, ncclDataType_t type) {
  Bits bits = 0;
  std::memcpy(&bits, at, typeBytes(type));
  return bits;
}

void storeBits(void* at, ncclDataType_t type, Bits bits) {
  std::memcpy(at, &bits, typeBytes(type));
}

Bits fromInteger(int64_t value, ncclDataType_t type) {
  if (!isInteger(type)) {
    return type == ncclFloat64 ? bitsOf(static_cast<double>(value))
                               : fromFloat(static_cast<float>(value), type);
  }
  const size_t bytes = typeBytes(type);
  const auto bits = static_cast<Bits>(value);
  return bytes == 8 ? bits : bits & ((Bits{1} << (8 * bytes)) - 1);
}

double toNumber(Bits bits, ncclDataType_t type) {
  if (type == ncclFloat64) return as<double>(bits);
  if (type == ncclFloat32) return as<float>(bits);
  return decodeSmall(bits, formatOf(type));
}

Bits fromFloat(float value, ncclDataType_t type) {
  if (type == ncclFloat32) return bitsOf(value);
  return encodeSmall(value, formatOf(type));
}

Bits foldBits(const std::vector<Bits>& inputs, ncclDataType_t type, Op op,
              const std::vector<Bits>& scalars, size_t divisor) {
  if (divisor == 0) divisor = inputs.size();
  switch (type) {
    case ncclInt8:
      return foldIntegers<int8_t>(inputs, op, scalars, divisor);
    case ncclUint8:
      return foldIntegers<uint8_t>(inputs, op, scalars, divisor);
    case ncclInt32:
      return foldIntegers<int32_t>(inputs, op, scalars, divisor);
    case ncclUint32:
      return foldIntegers<uint32_t>(inputs, op, scalars, divisor);
    case ncclInt64:
      return foldIntegers<int64_t>(inputs, op, scalars, divisor);
    case ncclUint64:
      return foldIntegers<uint64_t>(inputs, op, scalars, divisor);
    case ncclFloat64:
      return bitsOf(foldFloats<double>(inputs, op, scalars, divisor, as<double>));
    default:
      return fromFloat(
          foldFloats<float>(inputs, op, scalars, divisor,
                            [type](Bits b) { return static_cast<float>(toNumber(b, type)); }),
          type);
  }
}

uint64_t mix(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  uint64_t x = 0x9e3779b97f4a7c15U;
  for (uint64_t part : {a, b, c, d}) {
    x ^= part + 0x9e3779b97f4a7c15U + (x << 6) + (x >> 2);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    x ^= x >> 31;
  }
  return x;
}

Bits randomBits(uint64_t key, ncclDataType_t type, Op op) {
  const uint64_t r = mix(key, 77);
  if (isInteger(type)) return fromInteger(static_cast<int64_t>(r), type);
  const bool negative = (r & 1) != 0;
  if (type == ncclFloat64) {
    const double magnitude = std::ldexp(1.0 + static_cast<double>(r >> 12) * 0x1p-52,
                                        static_cast<int>((r >> 1) % 41) - 20);
    return bitsOf(negative ? -magnitude : magnitude);
  }
  // Exponents near 1: eight factors of less than 2 stay below e4m3's largest number, 448; a sum of
  // eight below 16 does too, also after a premultiplication by less than 2.
  const int exponent =
      op == Op::kProd ? static_cast<int>((r >> 1) % 3) - 2 : static_cast<int>((r >> 1) % 7) - 3;
  const float mantissa = 1.0F + static_cast<float>((r >> 41) & 0x7fffff) * 0x1p-23F;
  const float magnitude = std::ldexp(mantissa, exponent);
  return fromFloat(negative ? -magnitude : magnitude, type);
}

}  // namespace ranktest
