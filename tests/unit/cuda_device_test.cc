// SPDX-License-Identifier: Apache-2.0
// A CUDA device over a driver that the tests compile: which calls it makes, in which order and in
// whose context; what it says where something is missing; its kernels, run by the CPU.
#include "device/cuda/cuda_device.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "device/cuda/kernel_image.h"
#include "fake_cuda/cuda_cpu_kernels.h"
#include "fake_cuda/fake_cuda.h"

namespace flexlink::test {
namespace {

const std::string kEnter = "cuCtxSetCurrent 256; ";  // fakePrimary()
const std::string kLeave = "; cuCtxSetCurrent 512";  // fakeOther(), the caller's
StreamHandle someStream() { return reinterpret_cast<StreamHandle>(0x300); }

class Cuda : public ::testing::Test {
 protected:
  Cuda() {
    fake_.reset();
    fake_.attributes = {
        {kCudaStreamValues64, 1}, {kCudaHostPointerAsIs, 1}, {kCudaMultiprocessors, 3}};
    fake_.current = fakeOther();
  }
  ~Cuda() override { fake_.results.clear(); }

  static const CudaDriver& driver() { return *openCudaDriver(FLEXLINK_FAKE_CUDA).value(); }

  std::unique_ptr<CudaDevice> make() {
    auto made = CudaDevice::create(driver(), 0);
    EXPECT_TRUE(made.ok()) << made.status().text();
    fake_.calls.clear();
    return std::move(made.value());
  }

  // The text of what stops a device from being made.
  std::string refusal(int ordinal = 0) {
    auto made = CudaDevice::create(driver(), ordinal);
    EXPECT_FALSE(made.ok());
    EXPECT_EQ(made.status().code(), Code::kCuda);
    return made.status().text();
  }

  FakeCuda& fake_ = fakeCudaOf(FLEXLINK_FAKE_CUDA);
};

TEST_F(Cuda, IsMadeInThePrimaryContextAndLeavesTheCallersCurrent) {
  auto made = CudaDevice::create(driver(), 0);
  ASSERT_TRUE(made.ok()) << made.status().text();
  EXPECT_EQ(fake_.current, fakeOther());
  EXPECT_EQ(made.value()->model(), "Fake GPU");
  EXPECT_EQ(made.value()->pciId(), "0000:17:00.0");
  const std::string calls = fake_.takeCalls();
  EXPECT_EQ(calls.find("cuInit 0; cuDeviceGetCount; cuDeviceGet 0; "), 0u) << calls;
  EXPECT_NE(calls.find("cuDevicePrimaryCtxRetain 0; " + kEnter), std::string::npos) << calls;
  made.value().reset();
  const std::string end = "cuDevicePrimaryCtxRelease_v2 0";
  const std::string last = fake_.takeCalls();
  EXPECT_EQ(last.substr(last.size() - end.size()), end);
  EXPECT_EQ(fake_.current, fakeOther());
}

TEST_F(Cuda, StaysInThePrimaryContextWhereTheCallerIsInIt) {
  auto device = make();
  fake_.current = fakePrimary();
  EXPECT_TRUE(device->query(someStream()).ok());
  EXPECT_EQ(fake_.takeCalls(), "cuStreamQuery pointer");
}

TEST_F(Cuda, ACallerWithoutAContextHasNoneAfterwards) {
  auto device = make();
  fake_.current = nullptr;
  EXPECT_TRUE(device->query(someStream()).ok());
  EXPECT_EQ(fake_.takeCalls(), kEnter + "cuStreamQuery pointer; cuCtxSetCurrent 0");
  EXPECT_EQ(fake_.current, nullptr);
}

TEST_F(Cuda, TheCallersContextComesBackAlsoAfterAnError) {
  auto device = make();
  fake_.results["cuMemcpyAsync"] = kCudaOutOfMemory;
  char from = 1;
  char to = 0;
  const Status status = device->copy(someStream(), &to, &from, 1);
  EXPECT_STREQ(status.text(), "cuMemcpyAsync: out of memory (CUDA_ERROR_OUT_OF_MEMORY, 2)");
  EXPECT_EQ(fake_.takeCalls(), kEnter + "cuMemcpyAsync 1 pointer" + kLeave);
}

TEST_F(Cuda, StreamsHaveTheHighestPriorityAndAreApartFromTheNullStream) {
  auto device = make();
  auto stream = device->makeStream();
  ASSERT_TRUE(stream.ok());
  EXPECT_EQ(fake_.takeCalls(),
            kEnter + "cuCtxGetStreamPriorityRange; cuStreamCreateWithPriority 1 -5" + kLeave);
  EXPECT_TRUE(device->freeStream(stream.value()).ok());
  EXPECT_EQ(fake_.takeCalls(), kEnter + "cuStreamDestroy_v2 pointer" + kLeave);
}

TEST_F(Cuda, CountersAreWrittenBehindABarrierAndAwaitedAsAtLeast) {
  auto device = make();
  uint64_t counter = 0;
  EXPECT_TRUE(device->waitValue(someStream(), &counter, 1ull << 40).ok());
  EXPECT_TRUE(device->writeValue(someStream(), &counter, 7).ok());
  EXPECT_EQ(fake_.takeCalls(), kEnter + "cuStreamWaitValue64_v2 pointer somewhere 1099511627776 0" +
                                   kLeave + "; " + kEnter + "cuStreamWriteValue64_v2 pointer 7 0" +
                                   kLeave);
  EXPECT_EQ(counter, 7u);
}

TEST_F(Cuda, QueryTellsBusyFromBroken) {
  auto device = make();
  EXPECT_TRUE(device->query(someStream()).ok());
  fake_.streamsBusy = true;
  EXPECT_EQ(device->query(someStream()).code(), Code::kInProgress);
  fake_.results["cuStreamQuery"] = 700;
  EXPECT_EQ(device->query(someStream()).code(), Code::kCuda);
}

TEST_F(Cuda, KnowsEveryKindOfMemory) {
  auto device = make();
  int buffer[4] = {};
  auto& block = fake_.block;
  block.begin = reinterpret_cast<CUdeviceptr>(buffer);
  block.bytes = sizeof buffer;
  EXPECT_EQ(device->memoryOf(&buffer[1]).value(), MemoryKind::kDevice);
  block.memoryType = kCudaMemoryHost;
  EXPECT_EQ(device->memoryOf(&buffer[1]).value(), MemoryKind::kPinned);
  block.managed = true;
  EXPECT_EQ(device->memoryOf(&buffer[1]).value(), MemoryKind::kManaged);
  EXPECT_EQ(device->memoryOf(buffer + 4).value(), MemoryKind::kHost);
}

TEST_F(Cuda, PinsForEveryContextWithoutDisturbingACapture) {
  auto device = make();
  alignas(64) char page[64];
  EXPECT_TRUE(device->pin(page, sizeof page).ok());
  EXPECT_EQ(fake_.takeCalls(), kEnter +
                                   "cuThreadExchangeStreamCaptureMode 2; "
                                   "cuMemHostRegister_v2 pointer 64 3; "
                                   "cuThreadExchangeStreamCaptureMode 0" +
                                   kLeave);
  EXPECT_EQ(fake_.captureMode, 0) << "as it was";
  EXPECT_TRUE(device->unpin(page).ok());
}

TEST_F(Cuda, AHandleNamesTheAddressInsideItsAllocation) {
  auto device = make();
  char allocation[256];
  fake_.block.begin = reinterpret_cast<CUdeviceptr>(allocation);
  fake_.block.bytes = sizeof allocation;
  auto shared = device->share(allocation + 100);
  ASSERT_TRUE(shared.ok()) << shared.status().text();
  EXPECT_EQ(device->open(shared.value()).value(), allocation + 100) << "the same process";
  EXPECT_EQ(fake_.takeCalls().find("cuIpcOpenMemHandle"), std::string::npos);
  EXPECT_TRUE(device->close(allocation + 100).ok());
  EXPECT_EQ(fake_.takeCalls(), "") << "nothing was opened";
}

TEST_F(Cuda, AnotherProcesssMemoryIsOpenedAtItsOffsetAndClosedAtItsStart) {
  auto device = make();
  char allocation[256];
  fake_.block.begin = reinterpret_cast<CUdeviceptr>(allocation);
  fake_.block.bytes = sizeof allocation;
  MemoryHandle handle = device->share(allocation + 100).value();
  constexpr size_t kOfProcess = sizeof(CUipcMemHandle) + sizeof(uint64_t);
  handle[kOfProcess] ^= 1;
  // The fake's handle holds the address that was shared; the driver would give the start.
  memcpy(handle.data(), &fake_.block.begin, sizeof fake_.block.begin);
  fake_.calls.clear();
  auto opened = device->open(handle);
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(opened.value(), allocation + 100);
  EXPECT_NE(fake_.takeCalls().find("cuIpcOpenMemHandle_v2 1"), std::string::npos);
  EXPECT_TRUE(device->close(opened.value()).ok());
  EXPECT_NE(fake_.takeCalls().find("cuIpcCloseMemHandle base"), std::string::npos);
}

TEST_F(Cuda, TellsWhetherAStreamIsBeingCaptured) {
  auto device = make();
  EXPECT_FALSE(device->capturing(someStream()).value());
  fake_.captureStatus = kCudaCaptureActive;
  EXPECT_TRUE(device->capturing(someStream()).value());
  fake_.captureStatus = kCudaCaptureInvalidated;
  EXPECT_TRUE(device->capturing(someStream()).value()) << "it ends with an error, not as work";
}

TEST_F(Cuda, APeerThatIsReachedAlreadyIsNoError) {
  auto device = make();
  fake_.results["cuCtxEnablePeerAccess"] = kCudaPeerAlreadyEnabled;
  EXPECT_TRUE(device->reachPeer(1).ok());
  EXPECT_NE(fake_.takeCalls().find("cuDevicePrimaryCtxRetain 1"), std::string::npos);
  EXPECT_TRUE(device->reachPeer(1).ok());
  EXPECT_EQ(fake_.takeCalls().find("cuDevicePrimaryCtxRetain"), std::string::npos) << "once";
  device.reset();
  EXPECT_NE(fake_.takeCalls().find("cuDevicePrimaryCtxRelease_v2 1"), std::string::npos);
}

TEST_F(Cuda, RefusesWhatIsNotThereWithTheReason) {
  EXPECT_EQ(refusal(1), "there is no CUDA device 1: the driver shows 1 (CUDA_VISIBLE_DEVICES)");
  fake_.attributes[kCudaStreamValues64] = 0;
  EXPECT_EQ(refusal(), "CUDA device 0, Fake GPU, lets no stream wait for a 64-bit counter");
  fake_.attributes[kCudaStreamValues64] = 1;
  fake_.attributes[kCudaHostPointerAsIs] = 0;
  EXPECT_EQ(refusal(),
            "CUDA device 0, Fake GPU, reaches pinned host memory at other addresses than the CPU");
  fake_.results["cuInit"] = 999;
  EXPECT_EQ(refusal(), "cuInit: something else (CUDA_ERROR_OTHER, 999)");
}

TEST_F(Cuda, AnOldDriverIsRefusedByTheFunctionThatItLacks) {
  auto made = CudaDevice::create(*openCudaDriver(FLEXLINK_FAKE_CUDA_OLD).value(), 0);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(std::string(made.status().text()).find(FLEXLINK_FAKE_CUDA_OLD), 0u);
  EXPECT_NE(std::string(made.status().text()).find("a driver for CUDA 11.4, has no cu"),
            std::string::npos)
      << made.status().text();
}

TEST_F(Cuda, TheChosenDeviceIsThatOfTheCallersContext) {
  EXPECT_EQ(CudaDevice::current(driver()).value(), 0);
  EXPECT_EQ(fake_.takeCalls(), "cuInit 0; cuCtxGetDevice");
  fake_.current = nullptr;
  EXPECT_EQ(CudaDevice::current(driver()).value(), 0);
  EXPECT_EQ(fake_.takeCalls(), "cuInit 0");
}

FoldArgs sumOf(void** dst, const void* const* srcs, size_t count) {
  return {dst, 1, srcs, 2, count, DataType::kFloat16, ReduceOp::kSum, 1, nullptr, 0};
}

TEST_F(Cuda, FoldsByTheKernelOfTypeAndOp) {
  auto device = make();
  if (kernelImage().fatbin == nullptr) {
    EXPECT_NE(std::string(device->kernels().text()).find("there are no CUDA kernels (none: "),
              std::string::npos);
    return;
  }
  fake_.launch = [](const char* kernel, void** parameters) {
    EXPECT_TRUE(runOnCpu(kernel, *static_cast<cuda::FoldPack*>(parameters[0]), 4));
  };
  const std::vector<uint16_t> left(10000, 0x3c00);   // 1
  const std::vector<uint16_t> right(10000, 0x4000);  // 2
  std::vector<uint16_t> sum(10000);
  const void* srcs[] = {left.data(), right.data()};
  void* dst = sum.data();
  ASSERT_TRUE(device->fold(someStream(), sumOf(&dst, srcs, sum.size())).ok());
  EXPECT_EQ(sum, std::vector<uint16_t>(10000, 0x4200));  // 3
  const std::string calls = fake_.takeCalls();
  EXPECT_EQ(calls.find(kEnter + "cuLaunchKernel flexlink_float16_sum "), 0u) << calls;
  EXPECT_EQ(calls.find("cuMem"), std::string::npos) << "no allocation: " << calls;
}

TEST_F(Cuda, KernelsThatTheDriverRefusesAreSaidWhenTheyAreAskedFor) {
  fake_.results["cuModuleLoadDataEx"] = 209;
  auto device = make();
  uint16_t values[2] = {};
  const void* srcs[] = {&values[0], &values[1]};
  void* dst = &values[0];
  const Status status = device->fold(someStream(), sumOf(&dst, srcs, 1));
  EXPECT_EQ(status.code(), Code::kCuda);
  const char* words = kernelImage().fatbin == nullptr
                          ? "there are no CUDA kernels"
                          : "this driver (CUDA 13.0) does not take the kernels (sm_";
  EXPECT_EQ(std::string(status.text()).find(words), 0u) << status.text();
  EXPECT_TRUE(device->copy(someStream(), &values[0], &values[1], 2).ok()) << "the rest works";
}

}  // namespace
}  // namespace flexlink::test
