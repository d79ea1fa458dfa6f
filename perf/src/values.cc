// SPDX-License-Identifier: Apache-2.0
// How the exact inputs of values.h are made. Floats are small integers or powers of two, integers
// are any bits (arithmetic modulo 2^width is the same in any order).
#include "values.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace flexlink::perf {
namespace {

struct FloatFormat {
  int exponentBits;
  int precision;  // significand bits with the hidden one
};

bool isFloat(Type type) { return type >= Type::kHalf; }
bool isSigned(Type type) {
  return type != Type::kUint8 && type != Type::kUint32 && type != Type::kUint64;
}

FloatFormat formatOf(Type type) {
  switch (type) {
    case Type::kHalf:
      return {5, 11};
    case Type::kBfloat16:
      return {8, 8};
    case Type::kFloat8e4m3:
      return {4, 4};
    case Type::kFloat8e5m2:
      return {5, 3};
    case Type::kFloat:
      return {8, 24};
    default:
      return {11, 53};
  }
}

// All integers up to here are exact in the type, and so are their sums while they stay below.
int64_t budgetOf(Type type) {
  if (isFloat(type)) return int64_t{1} << std::min(formatOf(type).precision, 40);
  const int bits = static_cast<int>(8 * typeSize(type)) - 1;
  return (int64_t{1} << std::min(bits, 40)) - 1;
}

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

uint64_t draw(const Recipe& recipe, int who, size_t index) {
  const uint64_t key = recipe.seed * 0x9e3779b97f4a7c15ULL + static_cast<uint64_t>(who);
  return mix(mix(key + 0x632be59bd9b4e019ULL) + index * 0x9e3779b97f4a7c15ULL);
}

// Uniform enough in [low, high].
int64_t drawBetween(uint64_t random, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random % static_cast<uint64_t>(high - low + 1));
}

// A window of `width` ranks that moves with the index; only they put something in.
bool inWindow(int rank, size_t index, int ranks, int64_t width) {
  return static_cast<int64_t>((static_cast<size_t>(rank) + index) % ranks) < width;
}

double sumTerm(const Recipe& recipe, int rank, size_t index) {
  const int64_t budget = budgetOf(recipe.type) / (recipe.op == Op::kMulSum ? 2 : 1);
  const int64_t each = budget / recipe.ranks;
  const uint64_t random = draw(recipe, rank, index);
  if (each >= 1) return static_cast<double>(drawBetween(random, -each, each));
  if (!inWindow(rank, index, recipe.ranks, budget)) return 0;
  return static_cast<double>(drawBetween(random, -1, 1));
}

double productTerm(const Recipe& recipe, int rank, size_t index) {
  constexpr int64_t kFactors = 5;  // more powers of two would leave the range of f8e4m3
  const uint64_t random = draw(recipe, rank, index);
  double value = random & 1 ? -1 : 1;
  if (!inWindow(rank, index, recipe.ranks, kFactors)) return value;
  value = std::ldexp(value, static_cast<int>(drawBetween(random >> 8, -1, 1)));
  const bool odd = inWindow(rank, index, recipe.ranks, 1);
  return odd ? value * static_cast<double>(2 * (random >> 40 & 3) + 1) : value;
}

double extremeTerm(const Recipe& recipe, int rank, size_t index) {
  const uint64_t random = draw(recipe, rank, index);
  const int fraction = std::min(formatOf(recipe.type).precision, 40) - 1;
  const double significand = 1 + std::ldexp(static_cast<double>(random >> 24), -40);
  const double cut = std::ldexp(std::floor(std::ldexp(significand, fraction)), -fraction);
  return std::ldexp(random & 1 ? -cut : cut, static_cast<int>(drawBetween(random >> 1, -4, 3)));
}

struct AvgRange {
  int64_t mean = 0;    // the result lies in [-mean, mean], or [spread, mean] for unsigned types
  int64_t spread = 0;  // terms differ from the result by up to this
};

AvgRange avgRange(const Recipe& recipe) {
  const int64_t budget = budgetOf(recipe.type);
  const int64_t n = recipe.ranks;
  if (n > budget) return {};
  const int64_t mean = std::max<int64_t>(1, budget / (2 * n));
  // Half the mean: unsigned results lie between the two and must not all be the same.
  return {mean, std::min(mean / 2, (budget - n * mean) / n)};
}

int64_t avgResult(const Recipe& recipe, size_t index) {
  const AvgRange range = avgRange(recipe);
  const int64_t low = isSigned(recipe.type) ? -range.mean : range.spread;
  return drawBetween(draw(recipe, -1, index), low, range.mean);
}

// The mean plus differences that cancel in pairs of ranks; the last of an odd number has none.
int64_t avgTerm(const Recipe& recipe, int rank, size_t index) {
  const AvgRange range = avgRange(recipe);
  const int64_t result = avgResult(recipe, index);
  if ((rank | 1) >= recipe.ranks) return result;
  const uint64_t random = draw(recipe, rank / 2, index);
  const int64_t difference = drawBetween(random, -range.spread, range.spread);
  return rank % 2 == 0 ? result + difference : result - difference;
}

double realTerm(const Recipe& recipe, int rank, size_t index) {
  switch (recipe.op) {
    case Op::kProd:
      return productTerm(recipe, rank, index);
    case Op::kMax:
    case Op::kMin:
      return extremeTerm(recipe, rank, index);
    case Op::kAvg:
      return static_cast<double>(avgTerm(recipe, rank, index));
    default:
      return sumTerm(recipe, rank, index);
  }
}

// Cut to the width of the type and extended again, so that comparisons see the type's value.
int64_t narrow(Type type, uint64_t bits) {
  switch (type) {
    case Type::kInt8:
      return static_cast<int8_t>(bits);
    case Type::kUint8:
      return static_cast<uint8_t>(bits);
    case Type::kInt32:
      return static_cast<int32_t>(bits);
    case Type::kUint32:
      return static_cast<uint32_t>(bits);
    default:
      return static_cast<int64_t>(bits);
  }
}

int64_t wholeTerm(const Recipe& recipe, int rank, size_t index) {
  if (recipe.op == Op::kAvg) return avgTerm(recipe, rank, index);
  return narrow(recipe.type, draw(recipe, rank, index));
}

bool wholeLess(Type type, int64_t a, int64_t b) {
  return type == Type::kUint64 ? static_cast<uint64_t>(a) < static_cast<uint64_t>(b) : a < b;
}

double realResult(const Recipe& recipe, size_t index) {
  double result = recipe.op == Op::kProd ? 1 : 0;
  for (int rank = 0; rank < recipe.ranks; ++rank) {
    const double term = realTerm(recipe, rank, index);
    if (recipe.op == Op::kProd) {
      result *= term;
    } else if (recipe.op == Op::kMax) {
      result = rank == 0 ? term : std::max(result, term);
    } else if (recipe.op == Op::kMin) {
      result = rank == 0 ? term : std::min(result, term);
    } else {
      result += recipe.op == Op::kMulSum ? term * scalarOf(recipe.type, rank) : term;
    }
  }
  return recipe.op == Op::kAvg ? static_cast<double>(avgResult(recipe, index)) : result;
}

int64_t wholeResult(const Recipe& recipe, size_t index) {
  if (recipe.op == Op::kAvg) return avgResult(recipe, index);
  int64_t extreme = wholeTerm(recipe, 0, index);
  uint64_t product = 1;  // unsigned: wraps as the type does, whatever its width
  uint64_t sum = 0;
  for (int rank = 0; rank < recipe.ranks; ++rank) {
    const int64_t term = wholeTerm(recipe, rank, index);
    const bool less = recipe.op == Op::kMin ? wholeLess(recipe.type, term, extreme)
                                            : wholeLess(recipe.type, extreme, term);
    if (less) extreme = term;
    product *= static_cast<uint64_t>(term);
    const int scalar = recipe.op == Op::kMulSum ? scalarOf(recipe.type, rank) : 1;
    sum += static_cast<uint64_t>(term) * static_cast<uint64_t>(scalar);
  }
  if (recipe.op == Op::kProd) return static_cast<int64_t>(product);
  const bool picks = recipe.op == Op::kMax || recipe.op == Op::kMin;
  return picks ? extreme : static_cast<int64_t>(sum);
}

bool encodeFloat(FloatFormat format, bool finiteOnly, double value, uint64_t* bits) {
  const int bias = (1 << (format.exponentBits - 1)) - 1;
  const int fraction = format.precision - 1;
  const uint64_t sign = std::signbit(value) ? 1 : 0;
  *bits = sign << (format.exponentBits + fraction);
  if (value == 0) return true;
  int exponent = std::ilogb(value);
  exponent = std::max(exponent, 1 - bias);  // below: subnormal, with the smallest exponent
  const double scaled = std::ldexp(std::fabs(value), fraction - exponent);
  if (scaled != std::floor(scaled)) return false;
  const int top = finiteOnly ? bias + 1 : bias;  // f8e4m3 has no infinity: its top binade counts
  const auto significand = static_cast<uint64_t>(scaled);
  if (exponent > top) return false;
  if (finiteOnly && exponent == top && significand == (uint64_t{2} << fraction) - 1) return false;
  // The hidden one, where there is one, adds 1 to the exponent field.
  *bits |= (static_cast<uint64_t>(exponent + bias - 1) << fraction) + significand;
  return true;
}

}  // namespace

int scalarOf(Type type, int rank) { return isFloat(type) ? rank % 2 + 1 : rank % 3 + 1; }

bool encode(Type type, double value, void* bytes) {
  uint64_t bits = 0;
  if (type == Type::kDouble) {
    std::memcpy(bytes, &value, sizeof value);
    return true;
  }
  if (isFloat(type)) {
    if (!encodeFloat(formatOf(type), type == Type::kFloat8e4m3, value, &bits)) return false;
  } else {
    const auto whole = static_cast<int64_t>(value);
    bits = static_cast<uint64_t>(whole);
    if (static_cast<double>(whole) != value || narrow(type, bits) != whole) return false;
  }
  std::memcpy(bytes, &bits, typeSize(type));  // little-endian, as every machine this runs on
  return true;
}

Pattern contributionOf(const Recipe& recipe, int rank) {
  const size_t size = typeSize(recipe.type);
  Pattern pattern(kPeriod * size);
  for (size_t i = 0; i < kPeriod; ++i) {
    uint8_t* out = &pattern[i * size];
    if (isFloat(recipe.type) && recipe.op != Op::kNone) {
      encode(recipe.type, realTerm(recipe, rank, i), out);
      continue;
    }
    const uint64_t bits = recipe.op == Op::kNone
                              ? draw(recipe, rank, i)
                              : static_cast<uint64_t>(wholeTerm(recipe, rank, i));
    std::memcpy(out, &bits, size);
  }
  return pattern;
}

Pattern resultOf(const Recipe& recipe) {
  const size_t size = typeSize(recipe.type);
  Pattern pattern(kPeriod * size);
  for (size_t i = 0; i < kPeriod; ++i) {
    uint8_t* out = &pattern[i * size];
    if (isFloat(recipe.type)) {
      encode(recipe.type, realResult(recipe, i), out);
    } else {
      const auto bits = static_cast<uint64_t>(wholeResult(recipe, i));
      std::memcpy(out, &bits, size);
    }
  }
  return pattern;
}

}  // namespace flexlink::perf
