// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels, compiled for the CPU, against fold() of device/host, bit by bit: every type and
// op, numbers of buffers, lengths around the vectors' sizes, misaligned and aliased buffers, all
// values of the 8-bit types and of the 16-bit conversions.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "device/cuda/fold_plan.h"
#include "device/host/kernels.h"
#include "device/host/kernels_table.h"
#include "fake_cuda/cuda_cpu_kernels.h"
#include "kernels_reference.h"

namespace flexlink::test {
namespace {

constexpr size_t kMaxCount = 700;
constexpr int kMaxSrcs = 9;
constexpr size_t kThreads = 5;  // few: every one goes around its loops
constexpr size_t kGuard = 64;
constexpr int kDivisor = 300;  // more than int8 holds

bool fits(DataType type, ReduceOp op) { return isInteger(type) || !isBitwise(op); }

// Runs what a GPU would be told to.
void foldOnGpu(const FoldArgs& args) {
  FoldPlan plan{};
  ASSERT_TRUE(planFold(args, 1, &plan).ok());
  ASSERT_TRUE(runOnCpu(kernelName(plan.kernel), plan.pack, kThreads)) << kernelName(plan.kernel);
}

// The first element whose bits differ (any NaN is like any other); `count` where none does.
size_t firstUnlike(DataType type, const void* got, const void* expected, size_t count) {
  if (memcmp(got, expected, count * typeSize(type)) == 0) return count;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t g = reference::elementBits(type, got, i);
    const uint64_t e = reference::elementBits(type, expected, i);
    if (g != e && !(reference::isNan(type, g) && reference::isNan(type, e))) return i;
  }
  return count;
}

// kMaxSrcs sources and their scalars. Every second float is small, so that sums stay finite; the
// others are any bits, with infinities and NaN.
struct Inputs {
  std::vector<std::vector<uint8_t>> sources;
  std::vector<uint64_t> scalars;

  explicit Inputs(DataType type) : sources(kMaxSrcs) {
    std::mt19937_64 random(static_cast<unsigned>(type) + 100);
    const auto small = [&] {
      const double sign = random() % 2 == 0 ? 1.0 : -1.0;
      return reference::fromDouble(type, sign * static_cast<double>(random() % 32) / 8);
    };
    const size_t size = typeSize(type);
    for (auto& source : sources) {
      source.resize(kMaxCount * size);
      for (size_t i = 0; i < kMaxCount; ++i) {
        const bool tame = reference::isFloat(type) && i % 2 == 0;
        const uint64_t bits = tame ? small() : random();
        memcpy(&source[i * size], &bits, size);
      }
    }
    const uint64_t mask = ~uint64_t{0} >> (64 - 8 * size);
    for (int k = 0; k < kMaxSrcs; ++k) {
      scalars.push_back(reference::isFloat(type) ? small() : random() & mask);
    }
  }
};

// Bytes from a 64-byte boundary to where the buffers start: sources, first and second destination.
struct Layout {
  size_t src;
  size_t dst0;
  size_t dst1;
  int nDsts;
  bool inPlace;  // dsts[0] is the last source
};

struct Buffers {
  std::vector<std::vector<uint8_t>> memory;

  Buffers() : memory(kMaxSrcs + 2) {
    for (auto& block : memory) block.resize(kMaxCount * 8 + 4 * kGuard);
  }
  uint8_t* place(int index, size_t offset, size_t bytes) {
    auto& block = memory[index];
    const auto start = reinterpret_cast<uintptr_t>(block.data());
    uint8_t* begin = block.data() + (kGuard - start % kGuard) + kGuard + offset;
    memset(begin - kGuard, 0xa5, bytes + 2 * kGuard);
    return begin;
  }
};

bool guarded(const uint8_t* begin, size_t bytes) {
  for (size_t i = 1; i <= kGuard; ++i) {
    if (begin[-static_cast<ptrdiff_t>(i)] != 0xa5 || begin[bytes + i - 1] != 0xa5) return false;
  }
  return true;
}

class CudaKernels : public ::testing::TestWithParam<DataType> {
 protected:
  void compare(ReduceOp op, int nSrcs, size_t count, const Layout& layout) {
    const DataType type = GetParam();
    const size_t bytes = count * typeSize(type);
    std::vector<const void*> srcs;
    std::vector<const void*> originals;
    for (int k = 0; k < nSrcs; ++k) {
      uint8_t* source = buffers_.place(k, layout.src, bytes);
      memcpy(source, inputs_.sources[k].data(), bytes);
      srcs.push_back(source);
      originals.push_back(inputs_.sources[k].data());
    }
    uint8_t* first = buffers_.place(kMaxSrcs, layout.dst0, bytes);
    if (layout.inPlace) first = static_cast<uint8_t*>(const_cast<void*>(srcs.back()));
    uint8_t* second = buffers_.place(kMaxSrcs + 1, layout.dst1, bytes);
    void* dsts[] = {first, second};
    foldOnGpu({dsts, layout.nDsts, srcs.data(), nSrcs, count, type, op, kDivisor,
               inputs_.scalars.data(), 0});
    std::vector<uint8_t> expected(bytes);
    void* wanted = expected.data();
    fold({&wanted, 1, originals.data(), nSrcs, count, type, op, kDivisor, inputs_.scalars.data(),
          0});
    for (int j = 0; j < layout.nDsts; ++j) {
      ASSERT_EQ(firstUnlike(type, dsts[j], expected.data(), count), count) << "destination " << j;
      ASSERT_TRUE(guarded(static_cast<uint8_t*>(dsts[j]), bytes)) << "destination " << j;
    }
  }

  Inputs inputs_{GetParam()};
  Buffers buffers_;
};

TEST_P(CudaKernels, GiveTheBitsOfTheHostInEveryLayout) {
  const size_t size = typeSize(GetParam());
  const Layout layouts[] = {
      {0, 0, 0, 1, false},           {size, size, size, 2, false}, {3 * size, 3 * size, 0, 1, true},
      {0, size, 2 * size, 2, false}, {1, 1, 1, 2, false},          {0, 3, 0, 1, false}};
  for (int o = 0; o < kReduceOps; ++o) {
    const auto op = static_cast<ReduceOp>(o);
    if (!fits(GetParam(), op)) continue;
    for (const int nSrcs : {1, 2, 3, kMaxSrcs}) {
      for (const size_t count : {size_t{1}, size_t{7}, size_t{16}, size_t{129}, kMaxCount}) {
        for (const Layout& layout : layouts) {
          compare(op, nSrcs, count, layout);
          ASSERT_FALSE(HasFatalFailure()) << opName(op) << " sources " << nSrcs << " count "
                                          << count << " layout " << &layout - layouts;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllTypes, CudaKernels,
                         ::testing::Values(DataType::kInt8, DataType::kUint8, DataType::kInt32,
                                           DataType::kUint32, DataType::kInt64, DataType::kUint64,
                                           DataType::kFloat16, DataType::kFloat32,
                                           DataType::kFloat64, DataType::kBfloat16,
                                           DataType::kFloat8e4m3, DataType::kFloat8e5m2),
                         [](const auto& info) { return typeName(info.param); });

// Folds lists of codes on both, and compares.
void compareCodes(DataType type, ReduceOp op, const std::vector<std::vector<uint8_t>>& sources,
                  const std::vector<uint64_t>& scalars, int divisor) {
  const size_t count = sources[0].size() / typeSize(type);
  std::vector<const void*> srcs;
  for (const auto& source : sources) srcs.push_back(source.data());
  std::vector<uint8_t> got(sources[0].size());
  std::vector<uint8_t> expected(got.size());
  void* to = got.data();
  FoldArgs args{
      &to, 1, srcs.data(), static_cast<int>(srcs.size()), count, type, op, divisor, scalars.data(),
      0};
  foldOnGpu(args);
  to = expected.data();
  fold(args);
  const size_t unlike = firstUnlike(type, got.data(), expected.data(), count);
  ASSERT_EQ(unlike, count) << typeName(type) << " " << opName(op) << ": "
                           << reference::elementBits(type, got.data(), unlike) << ", not "
                           << reference::elementBits(type, expected.data(), unlike);
}

TEST(CudaKernelValues, EveryPairOf8BitValues) {
  std::vector<std::vector<uint8_t>> pairs(2, std::vector<uint8_t>(65536));
  for (unsigned i = 0; i < 65536; ++i) {
    pairs[0][i] = static_cast<uint8_t>(i);
    pairs[1][i] = static_cast<uint8_t>(i >> 8);
  }
  for (const DataType type :
       {DataType::kInt8, DataType::kUint8, DataType::kFloat8e4m3, DataType::kFloat8e5m2}) {
    for (int o = 0; o < kReduceOps; ++o) {
      const auto op = static_cast<ReduceOp>(o);
      if (fits(type, op)) compareCodes(type, op, pairs, {0x31, 0xb9}, 3);
    }
  }
}

TEST(CudaKernelValues, Every16BitValueIsWidenedAndRounded) {
  std::vector<uint8_t> all(2 * 65536);
  for (unsigned i = 0; i < 65536; ++i) memcpy(&all[2 * i], &i, 2);
  for (const DataType type : {DataType::kFloat16, DataType::kBfloat16}) {
    const uint64_t one = reference::fromDouble(type, 1);
    const uint64_t third = reference::fromDouble(type, -1.0 / 3);
    const uint64_t tiny = reference::fromDouble(type, 1.0 / 1024);
    for (const uint64_t scalar : {one, third, tiny}) {
      compareCodes(type, ReduceOp::kPreMulSum, {all}, {scalar}, 1);
    }
    for (const int divisor : {1, 2, 3, 1000})
      compareCodes(type, ReduceOp::kAvg, {all}, {}, divisor);
  }
}

// Sums whose exact value lies at, just above and just below the middle of two neighbours.
TEST(CudaKernelValues, TiesOf16BitSumsGoToTheEvenOne) {
  for (const DataType type : {DataType::kFloat16, DataType::kBfloat16}) {
    std::vector<std::vector<uint8_t>> sources(3, std::vector<uint8_t>(2 * 65536));
    std::mt19937 random(7);
    for (unsigned i = 0; i < 65536; ++i) {
      const double x = reference::decodeSmall(type, i & 0x7fff);
      const double above = reference::decodeSmall(type, (i & 0x7fff) + 1);
      const uint64_t half = reference::fromDouble(type, (above - x) / 2);
      const uint64_t crumb = random() % 3 == 0 ? 0 : random() % 2 == 0 ? 1 : 0x8001;
      memcpy(&sources[0][2 * i], &i, 2);
      memcpy(&sources[1][2 * i], &half, 2);
      memcpy(&sources[2][2 * i], &crumb, 2);
    }
    compareCodes(type, ReduceOp::kSum, sources, {}, 1);
  }
}

TEST(CudaKernelNames, EveryTypeAndOpHasItsKernelAndNoOtherIsThere) {
  std::set<std::string> needed;
  for (int t = 0; t < kDataTypes; ++t) {
    for (int o = 0; o < kReduceOps; ++o) {
      const auto type = static_cast<DataType>(t);
      const auto op = static_cast<ReduceOp>(o);
      if (fits(type, op)) needed.insert(kernelName(kernelOf(type, op)));
    }
  }
  const std::vector<std::string> names = cpuKernelNames();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()), needed);
  EXPECT_EQ(names.size(), needed.size()) << "none twice";
}

TEST(CudaKernelPlan, TheUserMayAllowFewerBlocksThanAGpuHolds) {
  EXPECT_EQ(mostBlocks(132, -1), 264u);
  EXPECT_EQ(mostBlocks(132, 0), 264u);
  EXPECT_EQ(mostBlocks(132, 2), 2u);
  EXPECT_EQ(mostBlocks(132, 1'000'000), 264u);
}

TEST(CudaKernelPlan, MoreBuffersThanAKernelTakesAreRefused) {
  std::vector<const void*> srcs(cuda::kMaxSources + 1, nullptr);
  void* dst = nullptr;
  FoldPlan plan{};
  const FoldArgs args{
      &dst,    1, srcs.data(), static_cast<int>(srcs.size()), 1, DataType::kInt8, ReduceOp::kSum, 1,
      nullptr, 0};
  const Status status = planFold(args, 1, &plan);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_STREQ(status.text(),
               "a CUDA kernel folds at most 128 buffers into 16; 129 into 1 were asked for");
}

}  // namespace
}  // namespace flexlink::test
