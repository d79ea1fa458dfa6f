// SPDX-License-Identifier: Apache-2.0
// A real GPU's kernels against fold() of device/host, bit by bit: every pair of 8-bit values, every
// 16-bit value, buffers that lie unlike; and counters between two streams and the CPU. Skipped
// where there is no GPU.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "device/cuda/context_scope.h"
#include "device/cuda/cuda_device.h"
#include "device/host/kernels.h"
#include "kernels_reference.h"

namespace flexlink::test {
namespace {

constexpr std::chrono::seconds kLimit{20};
constexpr size_t kRoom = 1 << 20;  // bytes of each buffer on the GPU
constexpr int kBuffers = 5;        // sources, then two destinations

using Bytes = std::vector<uint8_t>;

class GpuValues : public ::testing::Test {
 protected:
  void SetUp() override {
    auto driver = openCudaDriver();
    if (!driver.ok()) GTEST_SKIP() << "no GPU here: " << driver.status().text();
    driver_ = driver.value();
    int count = 0;
    const CUresult started = driver_->init(0);
    if (started != kCudaSuccess || driver_->deviceGetCount(&count) != kCudaSuccess || count == 0) {
      GTEST_SKIP() << "no GPU here: " << driver_->check(driver_->init, started).text();
    }
    auto made = CudaDevice::create(*driver_, 0);
    ASSERT_TRUE(made.ok()) << made.status().text();
    device_ = std::move(made.value());
    stream_ = device_->makeStream().value();
    ASSERT_EQ(driver_->primaryCtxRetain(&context_, 0), kCudaSuccess);
    const ContextScope scope(*driver_, context_);
    for (auto& buffer : buffers_) ASSERT_EQ(driver_->memAlloc(&buffer, kRoom + 64), kCudaSuccess);
  }

  void TearDown() override {
    if (context_ == nullptr) return;
    const ContextScope scope(*driver_, context_);
    for (const CUdeviceptr buffer : buffers_) EXPECT_EQ(driver_->memFree(buffer), kCudaSuccess);
    EXPECT_TRUE(device_->freeStream(stream_).ok());
    EXPECT_EQ(driver_->primaryCtxRelease(0), kCudaSuccess);
  }

  uint8_t* onGpu(int buffer, size_t offset = 0) const {
    return reinterpret_cast<uint8_t*>(buffers_[buffer]) + offset;
  }

  // Until the stream has nothing left to do, or an error, or the limit.
  Status settle(StreamHandle stream) const {
    const auto end = std::chrono::steady_clock::now() + kLimit;
    for (;;) {
      Status status = device_->query(stream);
      if (status.code() != Code::kInProgress || std::chrono::steady_clock::now() > end)
        return status;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  // Folds the sources on the GPU, all buffers `offset` bytes past an aligned address (the second
  // destination one byte more if `unlike`), and compares both destinations with fold() of the host.
  void compare(DataType type, ReduceOp op, const std::vector<Bytes>& sources,
               const std::vector<uint64_t>& scalars, int divisor, size_t offset, bool unlike) {
    const size_t bytes = sources[0].size();
    const size_t count = bytes / typeSize(type);
    std::vector<const void*> srcs;
    std::vector<const void*> originals;
    for (size_t k = 0; k < sources.size(); ++k) {
      uint8_t* source = onGpu(static_cast<int>(k), offset);
      ASSERT_TRUE(device_->copy(stream_, source, sources[k].data(), bytes).ok());
      srcs.push_back(source);
      originals.push_back(sources[k].data());
    }
    void* dsts[] = {onGpu(kBuffers - 2, offset), onGpu(kBuffers - 1, offset + (unlike ? 1 : 0))};
    const auto nSrcs = static_cast<int>(srcs.size());
    const FoldArgs args{dsts, 2, srcs.data(), nSrcs, count, type, op, divisor, scalars.data(), 0};
    const Status folded = device_->fold(stream_, args);
    ASSERT_TRUE(folded.ok()) << folded.text();
    Bytes expected(bytes);
    void* wanted = expected.data();
    fold({&wanted, 1, originals.data(), nSrcs, count, type, op, divisor, scalars.data(), 0});
    for (void* dst : dsts) {
      Bytes got(bytes);
      ASSERT_TRUE(device_->copy(stream_, got.data(), dst, bytes).ok());
      const Status settled = settle(stream_);
      ASSERT_TRUE(settled.ok()) << settled.text();
      for (size_t i = 0; i < count && got != expected; ++i) {
        const uint64_t g = reference::elementBits(type, got.data(), i);
        const uint64_t e = reference::elementBits(type, expected.data(), i);
        ASSERT_TRUE(g == e || (reference::isNan(type, g) && reference::isNan(type, e)))
            << typeName(type) << " " << opName(op) << " element " << i << " of " << count << ": "
            << g << ", not " << e;
      }
    }
  }

  const CudaDriver* driver_ = nullptr;
  std::unique_ptr<CudaDevice> device_;
  StreamHandle stream_ = nullptr;
  CUcontext context_ = nullptr;
  CUdeviceptr buffers_[kBuffers] = {};
};

// Sources with any bits, every second float small.
std::vector<Bytes> inputsOf(DataType type, size_t count, int sources) {
  std::mt19937_64 random(static_cast<unsigned>(type) + count);
  std::vector<Bytes> inputs(sources, Bytes(count * typeSize(type)));
  for (auto& input : inputs) {
    for (size_t i = 0; i < count; ++i) {
      uint64_t bits = random();
      if (i % 2 == 0 && reference::isFloat(type)) {
        bits = reference::fromDouble(type, (static_cast<double>(bits % 64) - 32) / 8);
      }
      memcpy(&input[i * typeSize(type)], &bits, typeSize(type));
    }
  }
  return inputs;
}

TEST_F(GpuValues, FoldsWithTheBitsOfTheHostHoweverTheBuffersLie) {
  for (int t = 0; t < kDataTypes; ++t) {
    const auto type = static_cast<DataType>(t);
    std::vector<uint64_t> scalars;
    for (const double x : {0.75, -3.0, 1.25}) {
      scalars.push_back(reference::isFloat(type) ? reference::fromDouble(type, x)
                                                 : static_cast<uint64_t>(x * 4) & 0x7f);
    }
    for (int o = 0; o < kReduceOps; ++o) {
      const auto op = static_cast<ReduceOp>(o);
      if (isBitwise(op) && !isInteger(type)) continue;
      for (const size_t count : {size_t{1}, size_t{1000}, kRoom / 8 - 3}) {
        const auto inputs = inputsOf(type, count, 3);
        compare(type, op, inputs, scalars, 300, 0, false);
        compare(type, op, inputs, scalars, 300, typeSize(type), false);
        compare(type, op, inputs, scalars, 300, 1, true);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_F(GpuValues, EveryPairOf8BitValuesAndEvery16BitValue) {
  std::vector<Bytes> pairs(2, Bytes(65536));
  Bytes all(2 * 65536);
  for (unsigned i = 0; i < 65536; ++i) {
    pairs[0][i] = static_cast<uint8_t>(i);
    pairs[1][i] = static_cast<uint8_t>(i >> 8);
    memcpy(&all[2 * i], &i, 2);
  }
  for (int o = 0; o < kReduceOps; ++o) {
    const auto op = static_cast<ReduceOp>(o);
    for (const DataType type : {DataType::kFloat8e4m3, DataType::kFloat8e5m2}) {
      if (!isBitwise(op)) compare(type, op, pairs, {0x31, 0xb9}, 3, 0, false);
    }
    for (const DataType type : {DataType::kInt8, DataType::kUint8}) {
      compare(type, op, pairs, {0x31, 0xb9}, 3, 0, false);
    }
  }
  for (const DataType type : {DataType::kFloat16, DataType::kBfloat16}) {
    for (const double scalar : {1.0, -1.0 / 3, 1.0 / 1024}) {
      const std::vector<uint64_t> scalars{reference::fromDouble(type, scalar)};
      compare(type, ReduceOp::kPreMulSum, {all}, scalars, 1, 0, false);
    }
    compare(type, ReduceOp::kAvg, {all}, {}, 3, 0, false);
  }
}

TEST_F(GpuValues, StreamsAndTheCpuWaitForCountersOfPinnedMemory) {
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  ASSERT_TRUE(device_->pin(page, 4096).ok());
  EXPECT_EQ(device_->memoryOf(page).value(), MemoryKind::kPinned);
  EXPECT_EQ(device_->memoryOf(onGpu(0, 100)).value(), MemoryKind::kDevice);
  EXPECT_EQ(device_->memoryOf(this).value(), MemoryKind::kHost);
  auto* counters = static_cast<uint64_t*>(page);
  StreamHandle second = device_->makeStream().value();
  EXPECT_TRUE(device_->waitValue(second, &counters[1], 5).ok());
  EXPECT_TRUE(device_->writeValue(second, &counters[2], 9).ok());
  EXPECT_TRUE(device_->waitValue(stream_, &counters[0], 1ull << 40).ok());
  EXPECT_TRUE(device_->writeValue(stream_, &counters[1], 6).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(device_->query(stream_).code(), Code::kInProgress);
  EXPECT_EQ(device_->query(second).code(), Code::kInProgress);
  std::atomic_ref<uint64_t>(counters[0]).store((1ull << 40) + 1, std::memory_order_release);
  EXPECT_TRUE(settle(second).ok());
  EXPECT_EQ(std::atomic_ref<uint64_t>(counters[2]).load(std::memory_order_acquire), 9u);
  EXPECT_TRUE(settle(stream_).ok());
  EXPECT_TRUE(device_->freeStream(second).ok());
  EXPECT_TRUE(device_->unpin(page).ok());
  munmap(page, 4096);
}

}  // namespace
}  // namespace flexlink::test
