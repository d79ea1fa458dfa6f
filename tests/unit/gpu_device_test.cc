// SPDX-License-Identifier: Apache-2.0
// A real GPU as a device, where there is one: bits of the kernels, order by counters, and how near
// to a plain copy adding is. scripts/gpu-check runs these; everywhere else they say why not.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "device/cuda/cuda_device.h"
#include "device/host/kernels.h"
#include "device/host/kernels_table.h"
#include "kernels_reference.h"

namespace flexlink::test {
namespace {

constexpr int kSources = 3;
constexpr size_t kCount = 100'003;
constexpr auto kPatience = std::chrono::seconds(20);

double secondsNow() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

class GpuDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    const Result<const CudaDriver*> driver = openCudaDriver();
    if (!driver.ok()) GTEST_SKIP() << "no GPU: " << driver.status().text();
    driver_ = driver.value();
    auto made = CudaDevice::create(*driver_, 0);
    if (!made.ok()) GTEST_SKIP() << "no GPU: " << made.status().text();
    device_ = std::move(made.value());
    auto stream = device_->makeStream();
    ASSERT_TRUE(stream.ok()) << stream.status().text();
    stream_ = stream.value();
  }

  void TearDown() override {
    for (const CUdeviceptr memory : allocated_) driver_->memFree(memory);
    if (stream_ == nullptr) return;
    EXPECT_TRUE(device_->freeStream(stream_).ok());
  }

  // In the primary context, which a plain thread has not chosen.
  void* onDevice(size_t bytes) {
    CUcontext context = nullptr;
    CUdevice device = 0;
    CUdeviceptr memory = 0;
    EXPECT_EQ(driver_->deviceGet(&device, device_->ordinal()), kCudaSuccess);
    EXPECT_EQ(driver_->primaryCtxRetain(&context, device), kCudaSuccess);
    EXPECT_EQ(driver_->ctxSetCurrent(context), kCudaSuccess);
    EXPECT_EQ(driver_->memAlloc(&memory, bytes), kCudaSuccess);
    allocated_.push_back(memory);
    return reinterpret_cast<void*>(memory);
  }

  // Until all work of the stream is done.
  void finish() {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    Status status = device_->query(stream_);
    while (status.code() == Code::kInProgress && std::chrono::steady_clock::now() < end) {
      status = device_->query(stream_);
    }
    ASSERT_TRUE(status.ok()) << status.text();
  }

  void copy(void* to, const void* from, size_t bytes) {
    const Status status = device_->copy(stream_, to, from, bytes);
    ASSERT_TRUE(status.ok()) << status.text();
  }

  // Seconds for `times` calls of `work` until the stream is empty.
  template <typename Work>
  double timed(int times, Work work) {
    finish();
    const double start = secondsNow();
    for (int i = 0; i < times; ++i) EXPECT_TRUE(work().ok());
    finish();
    return secondsNow() - start;
  }

  const CudaDriver* driver_ = nullptr;
  std::unique_ptr<CudaDevice> device_;
  StreamHandle stream_ = nullptr;
  std::vector<CUdeviceptr> allocated_;
};

size_t firstUnlike(DataType type, const void* got, const void* expected, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const uint64_t g = reference::elementBits(type, got, i);
    const uint64_t e = reference::elementBits(type, expected, i);
    if (g != e && !(reference::isNan(type, g) && reference::isNan(type, e))) return i;
  }
  return count;
}

bool fits(DataType type, ReduceOp op) { return !isBitwise(op) || !reference::isFloat(type); }

TEST_F(GpuDevice, FoldsWithTheBitsOfTheHost) {
  ASSERT_TRUE(device_->kernels().ok()) << device_->kernels().text();
  std::mt19937_64 random(7);
  std::vector<std::vector<uint64_t>> inputs(kSources, std::vector<uint64_t>(kCount));
  for (auto& input : inputs) {
    for (uint64_t& word : input) word = random();
  }
  const void* hostSources[kSources];
  const void* sources[kSources];
  for (int k = 0; k < kSources; ++k) {
    hostSources[k] = inputs[k].data();
    void* there = onDevice(kCount * 8);
    copy(there, inputs[k].data(), kCount * 8);
    sources[k] = there;
  }
  void* result = onDevice(kCount * 8);
  std::vector<uint64_t> got(kCount);
  std::vector<uint64_t> expected(kCount);
  const uint64_t scalars[kSources] = {1, 1, 1};
  for (int t = 0; t < kDataTypes; ++t) {
    for (int o = 0; o < kReduceOps; ++o) {
      const auto type = static_cast<DataType>(t);
      const auto op = static_cast<ReduceOp>(o);
      if (!fits(type, op)) continue;
      const size_t bytes = kCount * typeSize(type);
      void* wanted = expected.data();
      fold({&wanted, 1, hostSources, kSources, kCount, type, op, kSources, scalars, 0});
      const FoldArgs args{&result, 1, sources, kSources, kCount, type, op, kSources, scalars, 0};
      const Status folded = device_->fold(stream_, args);
      ASSERT_TRUE(folded.ok()) << folded.text();
      copy(got.data(), result, bytes);
      finish();
      ASSERT_EQ(firstUnlike(type, got.data(), expected.data(), kCount), kCount)
          << typeName(type) << " " << opName(op);
    }
  }
}

TEST_F(GpuDevice, AStreamWaitsForTheCounterOfAnother) {
  auto other = device_->makeStream();
  ASSERT_TRUE(other.ok()) << other.status().text();
  alignas(4096) static uint64_t page[512];
  ASSERT_TRUE(device_->pin(page, sizeof page).ok());
  constexpr size_t kBytes = 64 << 20;
  void* first = onDevice(kBytes);
  void* second = onDevice(kBytes);
  std::vector<uint8_t> content(kBytes, 0x5a);
  std::vector<uint8_t> got(kBytes);
  ASSERT_TRUE(device_->waitValue(stream_, &page[0], 3).ok());  // enqueued before its cause
  copy(second, first, kBytes);
  copy(got.data(), second, kBytes);
  EXPECT_EQ(device_->query(stream_).code(), Code::kInProgress);
  ASSERT_TRUE(device_->copy(other.value(), first, content.data(), kBytes).ok());
  ASSERT_TRUE(device_->writeValue(other.value(), &page[0], 3).ok());
  finish();
  EXPECT_EQ(memcmp(got.data(), content.data(), kBytes), 0);
  EXPECT_EQ(page[0], 3U);
  EXPECT_TRUE(device_->query(other.value()).ok());
  EXPECT_TRUE(device_->freeStream(other.value()).ok());
  EXPECT_TRUE(device_->unpin(page).ok());
}

TEST_F(GpuDevice, AddingIsMeasuredAgainstCopying) {
  ASSERT_TRUE(device_->kernels().ok()) << device_->kernels().text();
  constexpr size_t kBytes = 256 << 20;
  constexpr int kTimes = 20;
  void* memory[3] = {onDevice(kBytes), onDevice(kBytes), onDevice(kBytes)};
  const std::vector<float> ones(kBytes / sizeof(float), 1.0F);
  copy(memory[0], ones.data(), kBytes);
  copy(memory[1], ones.data(), kBytes);
  const void* sources[2] = {memory[0], memory[1]};
  const FoldArgs args{&memory[2],     1, sources, 2, kBytes / sizeof(float), DataType::kFloat32,
                      ReduceOp::kSum, 1, nullptr, 0};
  const auto add = [&] { return device_->fold(stream_, args); };
  const auto move = [&] { return device_->copy(stream_, memory[2], memory[0], kBytes); };
  timed(2, move);
  const double copied = 2.0 * kBytes * kTimes / timed(kTimes, move) / 1e9;
  timed(2, add);
  const double added = 3.0 * kBytes * kTimes / timed(kTimes, add) / 1e9;
  // scripts/gpu-check reads these lines.
  std::printf("figure: copy on the GPU, GB/s read and written = %.0f\n", copied);
  std::printf("figure: sum of two on the GPU, GB/s read and written = %.0f\n", added);
  std::vector<float> got(ones.size());
  copy(got.data(), memory[2], kBytes);
  finish();
  EXPECT_EQ(got, std::vector<float>(ones.size(), 2.0F));
}

}  // namespace
}  // namespace flexlink::test
