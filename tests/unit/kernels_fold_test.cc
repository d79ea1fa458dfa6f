// SPDX-License-Identifier: Apache-2.0
// fold() of every instruction set of this CPU against the reference, bit by bit: types, ops,
// numbers of sources and destinations, lengths around the vectors' sizes, misaligned and aliased
// buffers, with and without streaming; no byte beside the destinations changes.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "device/host/kernels_table.h"
#include "kernels_reference.h"

namespace flexlink {
namespace {

constexpr int kGuard = 64;
constexpr uint8_t kGuardByte = 0xa5;
constexpr size_t kMaxCount = 4099;
constexpr size_t kCounts[] = {0, 1, 2, 15, 16, 17, 63, 64, 65, 1000, kMaxCount};
constexpr int kSources[] = {1, 2, 3, 4, 7, 16};
constexpr int kDivisor = 300;  // more than int8 holds

// How one call is laid out in memory.
struct Layout {
  size_t offset;   // elements: start of all buffers past a 64-byte boundary
  bool staggered;  // the second destination starts one more element later
  int nDsts;
  uint32_t streamMask;
  bool firstIsASource;  // dsts[0] == srcs[0]
  bool lastIsASource;   // dsts[nDsts - 1] == srcs[nSrcs - 1]
};

std::vector<Layout> allLayouts() {
  std::vector<Layout> layouts;
  for (const size_t offset : {0, 1, 3}) {
    for (const bool staggered : {false, true}) {
      for (int nDsts = 1; nDsts <= 3; ++nDsts) {
        for (const uint32_t mask : {0u, 1u, 2u, 7u}) {
          layouts.push_back({offset, staggered, nDsts, mask, false, false});
          layouts.push_back({offset, staggered, nDsts, mask, true, false});
          layouts.push_back({offset, staggered, nDsts, mask, false, true});
        }
      }
    }
  }
  return layouts;
}

// A block of memory with guards around; data() starts on a 64-byte boundary plus an offset.
class Block {
 public:
  explicit Block(size_t capacity) : bytes_(capacity + 3 * kGuard) {}

  uint8_t* place(size_t offsetBytes, size_t bytes) {
    const auto start = reinterpret_cast<uintptr_t>(bytes_.data()) + kGuard;
    const size_t toLine = (64 - start % 64) % 64;
    begin_ = kGuard + toLine + offsetBytes;
    end_ = begin_ + bytes;
    memset(&bytes_[begin_ - kGuard], kGuardByte, bytes + 2 * kGuard);
    return data();
  }
  uint8_t* data() { return &bytes_[begin_]; }
  bool guardsIntact() const {
    for (int i = 0; i < kGuard; ++i) {
      if (bytes_[begin_ - 1 - i] != kGuardByte || bytes_[end_ + i] != kGuardByte) return false;
    }
    return true;
  }

 private:
  std::vector<uint8_t> bytes_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

// Inputs of one type for up to 16 sources. Half of the floats are any bit pattern, also infinity
// and (where allowed) NaN; the others are small, so that long sums and products stay finite.
class Inputs {
 public:
  Inputs(DataType type, bool withNan) : type_(type), sources_(16) {
    std::mt19937_64 random(static_cast<unsigned>(type) + 1);
    const size_t size = typeSize(type);
    for (auto& source : sources_) {
      source.resize(kMaxCount * size);
      for (size_t i = 0; i < kMaxCount; ++i) {
        uint64_t bits = random();
        if (i % 2 == 0 || (!withNan && reference::isNan(type, bits & mask()))) {
          bits = small(bits);
        }
        memcpy(&source[i * size], &bits, size);
      }
    }
    for (int k = 0; k < 16; ++k) scalars_.push_back(small(random()) & mask());
  }
  const std::vector<uint8_t>& source(int k) const { return sources_[k]; }
  const std::vector<uint64_t>& scalars() const { return scalars_; }

 private:
  uint64_t mask() const { return ~uint64_t{0} >> (64 - 8 * typeSize(type_)); }
  uint64_t small(uint64_t bits) const {
    if (!reference::isFloat(type_)) return bits;
    const double sign = (bits & 1) != 0 ? -1.0 : 1.0;
    return reference::fromDouble(type_, sign * static_cast<double>(bits >> 1 & 31) / 8);
  }

  DataType type_;
  std::vector<std::vector<uint8_t>> sources_;
  std::vector<uint64_t> scalars_;
};

class KernelsFold : public ::testing::TestWithParam<DataType> {
 protected:
  KernelsFold() : type_(GetParam()) {
    for (int i = 0; i < 16 + 3; ++i) blocks_.emplace_back((kMaxCount + 4) * typeSize(type_));
    for (const char* name : {"portable", "avx2", "avx512"}) {
      if (const KernelTable* table = findKernels(name)) tables_.push_back(table);
    }
  }

  std::vector<uint8_t> expectedOf(ReduceOp op, int nSrcs, const Inputs& inputs) const {
    const size_t size = typeSize(type_);
    std::vector<uint8_t> expected(kMaxCount * size);
    std::vector<uint64_t> values(nSrcs);
    for (size_t i = 0; i < kMaxCount; ++i) {
      for (int k = 0; k < nSrcs; ++k) {
        values[k] = reference::elementBits(type_, inputs.source(k).data(), i);
      }
      const uint64_t bits = reference::fold(type_, op, values, inputs.scalars(), kDivisor);
      memcpy(&expected[i * size], &bits, size);
    }
    return expected;
  }

  bool sameResult(const uint8_t* got, const uint8_t* expected, size_t count) const {
    if (count == 0 || memcmp(got, expected, count * typeSize(type_)) == 0) return true;
    for (size_t i = 0; i < count; ++i) {
      const uint64_t g = reference::elementBits(type_, got, i);
      const uint64_t e = reference::elementBits(type_, expected, i);
      if (g != e && !(reference::isNan(type_, g) && reference::isNan(type_, e))) return false;
    }
    return true;
  }

  // One call; false when a result, a guard or a source is not as it must be.
  bool holds(const KernelTable& table, ReduceOp op, int nSrcs, size_t count, const Layout& layout,
             const Inputs& inputs, const std::vector<uint8_t>& expected) {
    const size_t size = typeSize(type_);
    std::vector<const void*> srcs;
    std::vector<void*> dsts;
    for (int k = 0; k < nSrcs; ++k) {
      uint8_t* p = blocks_[k].place(layout.offset * size, count * size);
      if (count > 0) memcpy(p, inputs.source(k).data(), count * size);
      srcs.push_back(p);
    }
    for (int j = 0; j < layout.nDsts; ++j) {
      const size_t extra = j == 1 && layout.staggered ? 1 : 0;
      dsts.push_back(blocks_[16 + j].place((layout.offset + extra) * size, count * size));
    }
    if (layout.firstIsASource) dsts.front() = blocks_[0].data();
    if (layout.lastIsASource) dsts.back() = blocks_[nSrcs - 1].data();
    const FoldArgs args{dsts.data(),
                        layout.nDsts,
                        srcs.data(),
                        nSrcs,
                        count,
                        type_,
                        op,
                        kDivisor,
                        inputs.scalars().data(),
                        layout.streamMask};
    table.fold[static_cast<int>(type_)][static_cast<int>(op)](args);
    return checkAll(args, inputs, expected);
  }

  bool checkAll(const FoldArgs& args, const Inputs& inputs, const std::vector<uint8_t>& expected) {
    bool good = true;
    for (int j = 0; j < args.nDsts; ++j) {
      good = good && sameResult(static_cast<uint8_t*>(args.dsts[j]), expected.data(), args.count);
      good = good && blocks_[16 + j].guardsIntact();
    }
    for (int k = 0; k < args.nSrcs; ++k) {
      good = good && blocks_[k].guardsIntact();
      const bool overwritten =
          args.srcs[k] == args.dsts[0] || args.srcs[k] == args.dsts[args.nDsts - 1];
      if (overwritten || args.count == 0) continue;
      const size_t bytes = args.count * typeSize(type_);
      good = good && memcmp(args.srcs[k], inputs.source(k).data(), bytes) == 0;
    }
    return good;
  }

  DataType type_;
  std::vector<const KernelTable*> tables_;
  std::vector<Block> blocks_;
};

std::string describe(const KernelTable& table, ReduceOp op, int nSrcs, size_t count,
                     const Layout& layout) {
  return std::string(table.name) + " " + opName(op) + " sources " + std::to_string(nSrcs) +
         " count " + std::to_string(count) + " offset " + std::to_string(layout.offset) +
         (layout.staggered ? " staggered" : "") + " dsts " + std::to_string(layout.nDsts) +
         " mask " + std::to_string(layout.streamMask) +
         (layout.firstIsASource ? " first in place" : "") +
         (layout.lastIsASource ? " last in place" : "");
}

TEST_P(KernelsFold, EveryInstructionSetGivesTheReferencesBitsInEveryLayout) {
  const std::vector<Layout> layouts = allLayouts();
  const Inputs plain(type_, /*withNan=*/false);
  const Inputs withNan(type_, /*withNan=*/true);
  size_t turn = 0;
  for (int o = 0; o < kReduceOps; ++o) {
    const auto op = static_cast<ReduceOp>(o);
    if (isBitwise(op) && !isInteger(type_)) continue;
    const bool compares = op == ReduceOp::kMax || op == ReduceOp::kMin;  // NaN: no promise
    const Inputs& inputs = compares ? plain : withNan;
    for (const int nSrcs : kSources) {
      const std::vector<uint8_t> expected = expectedOf(op, nSrcs, inputs);
      for (const size_t count : kCounts) {
        // All layouts for short vectors; for long ones a few, other ones each time.
        const size_t step = count <= 17 ? 1 : count <= 65 ? 11 : 61;
        for (size_t l = turn++ % step; l < layouts.size(); l += step) {
          for (const KernelTable* table : tables_) {
            ASSERT_TRUE(holds(*table, op, nSrcs, count, layouts[l], inputs, expected))
                << describe(*table, op, nSrcs, count, layouts[l]);
          }
        }
      }
    }
  }
}

TEST_P(KernelsFold, MaxAndMinWithNanGiveOneOfTheOperandsTheSameOnEveryInstructionSet) {
  const Inputs inputs(type_, /*withNan=*/true);
  const size_t size = typeSize(type_);
  for (const ReduceOp op : {ReduceOp::kMax, ReduceOp::kMin}) {
    std::vector<std::vector<uint8_t>> results;
    for (const KernelTable* table : tables_) {
      results.emplace_back(kMaxCount * size);
      void* dst = results.back().data();
      const void* srcs[] = {inputs.source(0).data(), inputs.source(1).data()};
      const FoldArgs args{&dst, 1, srcs, 2, kMaxCount, type_, op, 1, nullptr, 0};
      table->fold[static_cast<int>(type_)][static_cast<int>(op)](args);
      EXPECT_EQ(results.back(), results.front()) << table->name;
    }
    for (size_t i = 0; i < kMaxCount; ++i) {
      const uint64_t got = reference::elementBits(type_, results[0].data(), i);
      const bool isOperand = got == reference::elementBits(type_, inputs.source(0).data(), i) ||
                             got == reference::elementBits(type_, inputs.source(1).data(), i);
      ASSERT_TRUE(isOperand) << opName(op) << " element " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllTypes, KernelsFold,
                         ::testing::Values(DataType::kInt8, DataType::kUint8, DataType::kInt32,
                                           DataType::kUint32, DataType::kInt64, DataType::kUint64,
                                           DataType::kFloat16, DataType::kFloat32,
                                           DataType::kFloat64, DataType::kBfloat16,
                                           DataType::kFloat8e4m3, DataType::kFloat8e5m2),
                         [](const auto& info) { return std::string(typeName(info.param)); });

TEST(KernelsFoldOrder, SourcesAreAddedInTheirOrder) {
  const float values[] = {1e8f, 1.0f, -1e8f, 3.0f};  // any other order or grouping: another sum
  float result = 0;
  void* dst = &result;
  const void* srcs[] = {&values[0], &values[1], &values[2], &values[3]};
  fold({&dst, 1, srcs, 4, 1, DataType::kFloat32, ReduceOp::kSum, 1, nullptr, 0});
  EXPECT_EQ(result, 3.0f);
}

TEST(KernelsFoldOrder, EqualZerosKeepTheSignOfTheFirstSource) {
  const float zeros[] = {-0.0f, 0.0f};
  for (const ReduceOp op : {ReduceOp::kMax, ReduceOp::kMin}) {
    float result = 1;
    void* dst = &result;
    const void* srcs[] = {&zeros[0], &zeros[1]};
    fold({&dst, 1, srcs, 2, 1, DataType::kFloat32, op, 1, nullptr, 0});
    EXPECT_TRUE(std::signbit(result));
  }
}

TEST(KernelsFoldOrder, ProductsAreRoundedBeforeTheyAreAdded) {
  // (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24: a fused multiply-add would keep the last term of one side.
  const float factor = 1.0f + 0x1p-12f;
  const std::vector<float> left(64, -factor);
  const std::vector<float> right(64, factor);
  uint64_t scalars[] = {0, 0};
  memcpy(&scalars[0], &factor, sizeof(factor));
  memcpy(&scalars[1], &factor, sizeof(factor));
  std::vector<float> result(64, 1.0f);
  void* dst = result.data();
  const void* srcs[] = {left.data(), right.data()};
  fold({&dst, 1, srcs, 2, 64, DataType::kFloat32, ReduceOp::kPreMulSum, 1, scalars, 0});
  EXPECT_EQ(result, std::vector<float>(64, 0.0f));
}

TEST(KernelsFoldOrder, ABufferThatIsNotAlignedToItsElementsIsFoldedAllTheSame) {
  constexpr size_t kCount = 3000;
  std::vector<float> source(kCount);
  for (size_t i = 0; i < kCount; ++i) source[i] = static_cast<float>(i);
  for (const uint32_t mask : {0u, 1u}) {
    std::vector<char> memory(kCount * sizeof(float) + 1);
    void* dst = memory.data() + 1;
    const void* srcs[] = {source.data(), source.data()};
    fold({&dst, 1, srcs, 2, kCount, DataType::kFloat32, ReduceOp::kSum, 1, nullptr, mask});
    std::vector<float> result(kCount);
    memcpy(result.data(), dst, kCount * sizeof(float));
    for (size_t i = 0; i < kCount; ++i) ASSERT_EQ(result[i], 2 * source[i]) << "element " << i;
  }
}

TEST(KernelsFoldOrder, OneSourceIsHandedOnUnchanged) {
  const uint8_t infinity = 0x7c;  // float8e5m2: a conversion would saturate it
  uint8_t result = 0;
  void* dst = &result;
  const void* src = &infinity;
  fold({&dst, 1, &src, 1, 1, DataType::kFloat8e5m2, ReduceOp::kSum, 1, nullptr, 0});
  EXPECT_EQ(result, 0x7c);
}

}  // namespace
}  // namespace flexlink
