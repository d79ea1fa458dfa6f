// SPDX-License-Identifier: Apache-2.0
// float16, bfloat16 and float8 through the kernels of every instruction set of this CPU: all bit
// patterns, and rounding at and around ties against a search among all values of the format.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "device/host/kernels_table.h"
#include "kernels_reference.h"

namespace flexlink {
namespace {

const DataType kSmallFloats[] = {DataType::kFloat16, DataType::kBfloat16, DataType::kFloat8e4m3,
                                 DataType::kFloat8e5m2};

std::vector<const KernelTable*> usableTables() {
  std::vector<const KernelTable*> tables;
  for (const char* name : {"portable", "avx2", "avx512"}) {
    if (const KernelTable* table = findKernels(name)) tables.push_back(table);
  }
  return tables;
}

// Buffers of small floats, one element each place.
struct Elements {
  DataType type;
  std::vector<uint8_t> bytes;

  Elements(DataType t, size_t count) : type(t), bytes(count * typeSize(t)) {}
  void set(size_t i, uint32_t bits) {
    std::memcpy(&bytes[i * typeSize(type)], &bits, typeSize(type));
  }
  uint32_t get(size_t i) const {
    return static_cast<uint32_t>(reference::elementBits(type, bytes.data(), i));
  }
  size_t count() const { return bytes.size() / typeSize(type); }
};

Elements allCodes(DataType type) {
  Elements all(type, size_t{1} << (8 * typeSize(type)));
  for (size_t i = 0; i < all.count(); ++i) all.set(i, static_cast<uint32_t>(i));
  return all;
}

Elements filled(DataType type, size_t count, uint32_t bits) {
  Elements e(type, count);
  for (size_t i = 0; i < count; ++i) e.set(i, bits);
  return e;
}

Elements runFold(const KernelTable& table, ReduceOp op, const std::vector<const Elements*>& sources,
                 uint64_t scalar = 0, int divisor = 1) {
  const DataType type = sources[0]->type;
  Elements out(type, sources[0]->count());
  std::vector<const void*> srcs;
  srcs.reserve(sources.size());
  for (const Elements* e : sources) srcs.push_back(e->bytes.data());
  const std::vector<uint64_t> scalars(srcs.size(), scalar);
  void* dst = out.bytes.data();
  const FoldArgs args{&dst,           1,    srcs.data(), static_cast<int>(srcs.size()),
                      out.count(),    type, op,          divisor,
                      scalars.data(), 0};
  table.fold[static_cast<int>(type)][static_cast<int>(op)](args);
  return out;
}

// Both NaN, or the same bits; a failure names the first element.
::testing::AssertionResult sameElements(const Elements& got, const Elements& expected) {
  for (size_t i = 0; i < got.count(); ++i) {
    const uint32_t g = got.get(i);
    const uint32_t e = expected.get(i);
    if (g == e || (reference::isNan(got.type, g) && reference::isNan(got.type, e))) continue;
    char text[96];
    snprintf(text, sizeof(text), "element %zu is %#x instead of %#x", i, g, e);
    return ::testing::AssertionFailure() << typeName(got.type) << ": " << text;
  }
  return ::testing::AssertionSuccess();
}

TEST(FloatFormats, EveryBitPatternSurvivesTheWayThroughFloat32) {
  for (const KernelTable* table : usableTables()) {
    SCOPED_TRACE(table->name);
    for (const DataType type : kSmallFloats) {
      const Elements all = allCodes(type);
      Elements expected = all;
      if (type == DataType::kFloat8e5m2) {  // the saturating conversion knows no infinity
        expected.set(0x7c, 0x7b);
        expected.set(0xfc, 0xfb);
      }
      EXPECT_TRUE(sameElements(runFold(*table, ReduceOp::kAvg, {&all}), expected));
    }
  }
}

TEST(FloatFormats, ProductsRoundToTheNearestValueAndTiesToEven) {
  // 0.5, 0.25, 2^-7: ties among denormals; 1.5, 1 + ulp: ties among normals; max: overflow.
  for (const DataType type : kSmallFloats) {
    const Elements all = allCodes(type);
    const auto format = reference::formatOf(type);
    const uint32_t one = static_cast<uint32_t>(format.bias()) << format.manBits;
    std::vector<uint32_t> factors = {format.maxFinite(), 1, one + 1, one | format.signMask()};
    for (const double x : {0.5, 0.25, 0.0078125, 1.5, 3.0, 1.75}) {
      factors.push_back(reference::encodeSmall(type, x));
    }
    for (const uint32_t factor : factors) {
      Elements expected(type, all.count());
      for (size_t i = 0; i < all.count(); ++i) {
        const uint64_t bits = reference::fold(type, ReduceOp::kPreMulSum, {i}, {factor}, 1);
        expected.set(i, static_cast<uint32_t>(bits));
      }
      for (const KernelTable* table : usableTables()) {
        SCOPED_TRACE(std::string(table->name) + " factor " + std::to_string(factor));
        EXPECT_TRUE(sameElements(runFold(*table, ReduceOp::kPreMulSum, {&all}, factor), expected));
      }
    }
  }
}

TEST(FloatFormats, SumsOfAllPairsOfFloat8AreRoundedOnce) {
  for (const DataType type : {DataType::kFloat8e4m3, DataType::kFloat8e5m2}) {
    const Elements all = allCodes(type);
    for (uint32_t right = 0; right < 256; ++right) {
      const Elements addend = filled(type, 256, right);
      for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kProd}) {
        Elements expected(type, 256);
        for (uint64_t i = 0; i < 256; ++i) {
          expected.set(i, static_cast<uint32_t>(reference::fold(type, op, {i, right}, {}, 1)));
        }
        for (const KernelTable* table : usableTables()) {
          SCOPED_TRACE(std::string(table->name) + " " + opName(op) + " " + std::to_string(right));
          ASSERT_TRUE(sameElements(runFold(*table, op, {&all, &addend}), expected));
        }
      }
    }
  }
}

TEST(FloatFormats, SumsBeyondTheRangeOverflowOrSaturateAsTheFormatSays) {
  struct Case {
    DataType type;
    uint32_t left, right, expected;
  };
  const Case cases[] = {
      {DataType::kFloat16, 0x7bff, 0x4c00, 0x7c00},   // 65504 + 16: a tie, to even: infinity
      {DataType::kFloat16, 0x7bff, 0x4bff, 0x7bff},   // 65504 + 15.99
      {DataType::kFloat16, 0x7c00, 0xfc00, 0x7e00},   // inf - inf
      {DataType::kBfloat16, 0x7f7f, 0x7b00, 0x7f80},  // max + half a step
      {DataType::kBfloat16, 0xff7f, 0xfaff, 0xff7f},  // -max - less than half a step
      {DataType::kFloat8e4m3, 0x7e, 0x7e, 0x7e},      // 448 + 448 saturates
      {DataType::kFloat8e4m3, 0xfe, 0xfe, 0xfe},
      {DataType::kFloat8e4m3, 0x7f, 0x00, 0x7f},  // NaN
      {DataType::kFloat8e5m2, 0x7b, 0x7b, 0x7b},  // 57344 + 57344 saturates
      {DataType::kFloat8e5m2, 0x7c, 0x00, 0x7b},  // so does infinity
      {DataType::kFloat8e5m2, 0x7c, 0xfc, 0x7f},  // inf - inf
  };
  for (const KernelTable* table : usableTables()) {
    for (const Case& c : cases) {
      SCOPED_TRACE(std::string(table->name) + " " + typeName(c.type));
      const Elements left = filled(c.type, 3, c.left);
      const Elements right = filled(c.type, 3, c.right);
      const Elements expected = filled(c.type, 3, c.expected);
      EXPECT_TRUE(sameElements(runFold(*table, ReduceOp::kSum, {&left, &right}), expected));
    }
  }
}

TEST(FloatFormats, AccumulationInFloat32KeepsWhatSixteenBitsWouldLose) {
  // 2048 + 1 + 1 is 2050 in float32; in float16 each single one would be rounded away.
  for (const KernelTable* table : usableTables()) {
    SCOPED_TRACE(table->name);
    const Elements big = filled(DataType::kFloat16, 5, 0x6800);
    const Elements one = filled(DataType::kFloat16, 5, 0x3c00);
    const Elements expected = filled(DataType::kFloat16, 5, 0x6801);
    EXPECT_TRUE(sameElements(runFold(*table, ReduceOp::kSum, {&big, &one, &one}), expected));
  }
}

}  // namespace
}  // namespace flexlink
