// SPDX-License-Identifier: Apache-2.0
// The driver's table over a libcuda that the tests compile: what is found, what is missing, and
// what an error says.
#include "drivers/libcuda.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "fake_cuda/fake_cuda.h"

namespace flexlink::test {
namespace {

// A fresh fake and its table; the same one again, since a library is opened once.
const CudaDriver& driverOf(const char* path) {
  fakeCudaOf(path).reset();
  auto opened = openCudaDriver(path);
  EXPECT_TRUE(opened.ok()) << opened.status().text();
  return *opened.value();
}

bool lacks(const CudaDriver& driver, const char* name) {
  return std::any_of(driver.missing.begin(), driver.missing.end(),
                     [&](const char* missing) { return std::string(missing) == name; });
}

TEST(Libcuda, IsOpenedOnceAndInitialisesNothing) {
  const CudaDriver& driver = driverOf(FLEXLINK_FAKE_CUDA);
  EXPECT_EQ(&driver, openCudaDriver(FLEXLINK_FAKE_CUDA).value());
  EXPECT_EQ(driver.version, 13000);
  EXPECT_EQ(driver.path, FLEXLINK_FAKE_CUDA);
  EXPECT_EQ(fakeCudaOf(FLEXLINK_FAKE_CUDA).takeCalls(), "");
}

TEST(Libcuda, HasAllThatAWholeDriverHas) {
  const CudaDriver& driver = driverOf(FLEXLINK_FAKE_CUDA);
  std::string missing;
  for (const char* name : driver.missing) missing += std::string(name) + " ";
  EXPECT_EQ(missing, "");
}

TEST(Libcuda, SaysWhichFileIsNotThere) {
  auto opened = openCudaDriver("/nowhere/libcuda.so.1");
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.status().code(), Code::kCuda);
  EXPECT_STREQ(opened.status().text(),
               "the CUDA driver cannot be opened: /nowhere/libcuda.so.1: cannot open shared object "
               "file: No such file or directory; it comes with NVIDIA's driver");
}

TEST(Libcuda, ALibraryThatIsNoDriverIsRefused) {
  auto opened = openCudaDriver("libm.so.6");
  ASSERT_FALSE(opened.ok());
  EXPECT_STREQ(opened.status().text(),
               "libm.so.6, a driver of unknown version, has no cuInit; a driver for CUDA 2.0 or "
               "newer has it");
}

TEST(Libcuda, AnErrorNamesTheCallAndTheDriversWords) {
  const CudaDriver& driver = driverOf(FLEXLINK_FAKE_CUDA);
  fakeCudaOf(FLEXLINK_FAKE_CUDA).results["cuInit"] = kCudaOutOfMemory;
  const Status status = driver.run(driver.init, 0u);
  EXPECT_EQ(status.code(), Code::kCuda);
  EXPECT_STREQ(status.text(), "cuInit: out of memory (CUDA_ERROR_OUT_OF_MEMORY, 2)");
}

TEST(Libcuda, AnErrorThatTheDriverDoesNotKnowIsItsNumber) {
  const CudaDriver& driver = driverOf(FLEXLINK_FAKE_CUDA);
  EXPECT_STREQ(driver.check(driver.init, 12345).text(), "cuInit: unknown error (no name, 12345)");
}

TEST(Libcuda, SuccessIsOkAndPassesTheArguments) {
  const CudaDriver& driver = driverOf(FLEXLINK_FAKE_CUDA);
  int count = 0;
  EXPECT_TRUE(driver.run(driver.init, 0u).ok());
  EXPECT_TRUE(driver.run(driver.deviceGetCount, &count).ok());
  EXPECT_EQ(count, 1);
  EXPECT_EQ(fakeCudaOf(FLEXLINK_FAKE_CUDA).takeCalls(), "cuInit 0; cuDeviceGetCount");
}

TEST(Libcuda, AnOlderDriverLacksFunctionsAndSaysWhoHasThem) {
  const CudaDriver& driver = driverOf(FLEXLINK_FAKE_CUDA_OLD);
  EXPECT_EQ(driver.version, 11040);
  EXPECT_TRUE(lacks(driver, "cuStreamWaitValue64_v2"));
  EXPECT_FALSE(lacks(driver, "cuInit"));
  EXPECT_EQ(driver.streamWaitValue64(nullptr, 0, 0, 0), kCudaNotSupported);
  const Status status = driver.run(driver.streamWaitValue64, nullptr, 0, 0, 0);
  EXPECT_EQ(status.code(), Code::kCuda);
  EXPECT_EQ(status.text(), std::string(FLEXLINK_FAKE_CUDA_OLD) +
                               ", a driver for CUDA 11.4, has no cuStreamWaitValue64_v2; a driver "
                               "for CUDA 11.7 or newer has it");
}

TEST(Libcuda, AFunctionWithoutAnExportedNameIsAskedFor) {
  const CudaDriver& driver = driverOf(FLEXLINK_FAKE_CUDA_OLD);
  EXPECT_FALSE(lacks(driver, "cuStreamQuery"));
  (void)fakeCudaOf(FLEXLINK_FAKE_CUDA_OLD).takeCalls();  // of opening it
  EXPECT_TRUE(driver.run(driver.streamQuery, nullptr).ok());
  EXPECT_EQ(fakeCudaOf(FLEXLINK_FAKE_CUDA_OLD).takeCalls(), "cuStreamQuery");
}

}  // namespace
}  // namespace flexlink::test
