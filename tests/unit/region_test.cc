// SPDX-License-Identifier: Apache-2.0
#include "device/host/region.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

namespace flexlink {
namespace {

class Regions : public testing::Test {
 protected:
  void SetUp() override {
    auto made = table_.create(kBytes, RegionUse::kUser);
    ASSERT_TRUE(made.ok());
    base_ = static_cast<char*>(made.value());
  }
  void TearDown() override { EXPECT_TRUE(table_.destroy(base_).ok()); }

  static constexpr size_t kBytes = 8192;
  RegionTable& table_ = RegionTable::instance();
  char* base_ = nullptr;
};

TEST_F(Regions, AreFoundByAnyRangeInside) {
  RegionRef ref = table_.find(base_ + 100, 200);
  EXPECT_NE(ref.id, 0u);
  EXPECT_EQ(ref.offset, 100u);
  EXPECT_EQ(table_.find(base_, kBytes).id, ref.id);
  EXPECT_EQ(table_.find(base_ + 1, kBytes).id, 0u) << "one byte too long";
  EXPECT_NE(table_.find(base_ - 1, 1).id, ref.id) << "what lies there may be another's";
  EXPECT_NE(table_.find(base_ + kBytes, 1).id, ref.id);
  EXPECT_EQ(table_.find(base_ + 8, SIZE_MAX).id, 0u) << "no overflow";
}

TEST_F(Regions, AreSharedThroughTheirDescriptor) {
  auto shared = table_.share(table_.find(base_, 1).id);
  ASSERT_TRUE(shared.ok());
  auto mapped = ForeignRegion::map(shared.value().first.get(), shared.value().second);
  ASSERT_TRUE(mapped.ok()) << mapped.status().text();
  strcpy(base_ + 50, "hello");
  EXPECT_STREQ(static_cast<char*>(mapped.value()->base()) + 50, "hello");
}

TEST_F(Regions, AfterANewHomeOldMappingsReachNothing) {
  RegionRef before = table_.find(base_, 1);
  auto shared = table_.share(before.id);
  auto mapped = ForeignRegion::map(shared.value().first.get(), shared.value().second);
  strcpy(base_, "kept");
  ASSERT_TRUE(table_.rehome(base_ + 10).ok());
  EXPECT_STREQ(base_, "kept");
  strcpy(static_cast<char*>(mapped.value()->base()), "late");
  EXPECT_STREQ(base_, "kept");
  EXPECT_NE(table_.find(base_, 1).id, before.id);
  EXPECT_FALSE(table_.share(before.id).ok());
}

TEST(ForeignRegions, WithoutASealedSizeAreRefused) {
  Fd fd(memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(fd.get(), 4096), 0);
  EXPECT_FALSE(ForeignRegion::map(fd.get(), 4096).ok());
  ASSERT_EQ(fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  EXPECT_TRUE(ForeignRegion::map(fd.get(), 4096).ok());
  EXPECT_FALSE(ForeignRegion::map(fd.get(), 8192).ok()) << "smaller than said";
  EXPECT_FALSE(ForeignRegion::map(fd.get(), 0).ok());
}

TEST(RegionTableTest, DestroyOfForeignMemoryIsAnError) {
  int x = 0;
  EXPECT_EQ(RegionTable::instance().destroy(&x).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace flexlink
