// SPDX-License-Identifier: Apache-2.0
// The edge between C++ and C: what becomes of a Status, of an exception, and of a long text.
#include <gtest/gtest.h>
#include <string.h>

#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>

#include "api/export.h"

namespace flexlink {
namespace {

TEST(ApiEdge, StatusBecomesItsCodeAndItsTextIsKept) {
  EXPECT_EQ(guarded([] { return Status(Code::kRemote, "rank 3 died"); }), ncclRemoteError);
  EXPECT_STREQ(pncclGetLastError(nullptr), "rank 3 died");
}

TEST(ApiEdge, SuccessAndInProgressKeepTheTextOfTheLastFailure) {
  EXPECT_EQ(guarded([] { return Status(Code::kSystem, "first"); }), ncclSystemError);
  EXPECT_EQ(guarded([] { return Status(); }), ncclSuccess);
  EXPECT_EQ(guarded([] { return Status::inProgress(); }), ncclInProgress);
  EXPECT_STREQ(pncclGetLastError(nullptr), "first");
}

// In a process of its own: settings are read once.
TEST(ApiEdge, MemoryOfADeviceThatThisBuildLacksIsRefusedWithTheReason) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  auto refused = [] {
    setenv("FLEXLINK_DEVICE", "cuda", 1);
    void* memory = nullptr;
    if (pncclMemAlloc(&memory, 64) != ncclInvalidUsage || memory != nullptr) return 1;
    return strstr(pncclGetLastError(nullptr), "FLEXLINK_DEVICE=cuda") != nullptr ? 0 : 2;
  };
  EXPECT_EXIT(std::_Exit(refused()), testing::ExitedWithCode(0), "");
}

TEST(ApiEdge, ResultCodePassesUnchanged) {
  EXPECT_EQ(guarded([] { return ncclInvalidUsage; }), ncclInvalidUsage);
}

TEST(ApiEdge, NoMemoryIsASystemError) {
  EXPECT_EQ(guarded([]() -> Status { throw std::bad_alloc(); }), ncclSystemError);
  EXPECT_EQ(std::string(pncclGetLastError(nullptr)).find("out of memory"), 0u);
}

TEST(ApiEdge, AnyOtherExceptionIsAnInternalErrorWithItsWords) {
  EXPECT_EQ(guarded([]() -> Status { throw std::runtime_error("odd"); }), ncclInternalError);
  EXPECT_STREQ(pncclGetLastError(nullptr), "odd");
  EXPECT_EQ(guarded([]() -> Status { throw 7; }), ncclInternalError);
  EXPECT_NE(std::string(pncclGetLastError(nullptr)).find("unknown type"), std::string::npos);
}

TEST(ApiEdge, LongTextIsCutAt1023Bytes) {
  const std::string text = std::string(1023, 'a') + std::string(500, 'b');
  EXPECT_EQ(resultOf(Status(Code::kInvalidUsage, text)), ncclInvalidUsage);
  EXPECT_EQ(lastErrorText(), std::string(1023, 'a'));
}

TEST(ApiEdge, TextOfTheLastErrorCanBeHandedBackAsAnError) {
  setLastError(Status(Code::kInvalidUsage, "the first cause"));
  EXPECT_EQ(resultOf(Status(Code::kInvalidUsage, lastErrorText())), ncclInvalidUsage);
  EXPECT_STREQ(lastErrorText(), "the first cause");
}

TEST(ApiEdge, EveryCodeIsTheResultOfTheSameNumber) {
#define X(name, value, meaning) EXPECT_EQ(resultOf(Status(Code::name, "x")), (ncclResult_t)(value));
  FLEXLINK_CODES(X)
#undef X
}

}  // namespace
}  // namespace flexlink
