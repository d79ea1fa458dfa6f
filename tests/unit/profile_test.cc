// SPDX-License-Identifier: Apache-2.0
// What is saved of links comes back, and what cannot be trusted does not.
#include "link/profile.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace flexlink {
namespace {

constexpr uint64_t kNics = 0x1234abcd;
constexpr int64_t kNow = 1'800'000'000;

Profile example(int64_t seenAt) {
  Profile profile;
  profile.set("tcp:eth0", "192.0.2.7", {1.25e9, 48'000, seenAt});
  profile.set("tcp:eth1", "192.0.2.7", {2.5e8, 90'000, seenAt});
  return profile;
}

TEST(Profile, WhatWasSavedComesBack) {
  Result<Profile> got = Profile::parse(example(kNow - 5).text(kNics), kNics, kNow);
  ASSERT_TRUE(got.ok()) << got.status().text();
  const LinkProfile* link = got.value().find("tcp:eth1", "192.0.2.7");
  ASSERT_NE(link, nullptr);
  EXPECT_EQ(link->bytesPerSecond, 2.5e8);
  EXPECT_EQ(link->latencyNanos, 90'000);
  EXPECT_EQ(got.value().find("tcp:eth1", "192.0.2.8"), nullptr);
  EXPECT_EQ(got.value().find("tcp:eth2", "192.0.2.7"), nullptr);
}

TEST(Profile, WhatIsTooOldOrOfTheFutureIsLeftOut) {
  for (int64_t seenAt : {kNow - Profile::kStaleSeconds - 1, kNow + 90'000}) {
    Result<Profile> got = Profile::parse(example(seenAt).text(kNics), kNics, kNow);
    ASSERT_TRUE(got.ok());
    EXPECT_EQ(got.value().find("tcp:eth0", "192.0.2.7"), nullptr);
  }
}

TEST(Profile, AnyDamagedByteIsFound) {
  const std::string text = example(kNow).text(kNics);
  for (size_t at = 0; at < text.rfind("checksum"); ++at) {
    std::string bad = text;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    EXPECT_FALSE(Profile::parse(bad, kNics, kNow).ok()) << "byte " << at;
  }
  for (size_t length = 0; length + 2 < text.size(); ++length) {
    EXPECT_FALSE(Profile::parse(text.substr(0, length), kNics, kNow).ok()) << length << " bytes";
  }
}

TEST(Profile, OtherNicsAndVersionsAndImpossibleNumbersAreRefused) {
  Result<Profile> other = Profile::parse(example(kNow).text(kNics + 1), kNics, kNow);
  EXPECT_STREQ(other.status().text(), "it is of other NICs");
  Profile odd;
  odd.set("tcp:eth0", "192.0.2.7", {-1, 0, kNow});
  odd.set("tcp:eth0", "192.0.2.8", {1e9, -3, kNow});
  EXPECT_EQ(odd.text(kNics), Profile().text(kNics));
}

TEST(Profile, NicsAreKnownByNameAndAddressInAnyOrder) {
  EXPECT_EQ(nicFingerprint({{"eth0", "a"}, {"eth1", "b"}}),
            nicFingerprint({{"eth1", "b"}, {"eth0", "a"}}));
  EXPECT_NE(nicFingerprint({{"eth0", "a"}}), nicFingerprint({{"eth0", "b"}}));
  EXPECT_NE(nicFingerprint({{"eth0", "a"}}), nicFingerprint({{"eth1", "a"}}));
}

class ProfileFile : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/flexlink-profile-XXXXXX";
    folder_ = mkdtemp(name);
    path_ = folder_ + "/below/links";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  bool holdsExample() { return loadProfile(path_, kNics).find("tcp:eth0", "192.0.2.7") != nullptr; }

  std::string folder_, path_;
};

TEST_F(ProfileFile, IsMadeWithItsFolderForThisUserAlone) {
  ASSERT_TRUE(saveProfile(path_, example(time(nullptr)), kNics).ok());
  EXPECT_TRUE(holdsExample());
  struct stat about {};
  ASSERT_EQ(stat(path_.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  ASSERT_TRUE(saveProfile(path_, Profile(), kNics).ok());  // replaced as a whole
  EXPECT_FALSE(holdsExample());
}

TEST_F(ProfileFile, ThatOthersMayWriteOrThatIsALinkIsNotRead) {
  ASSERT_TRUE(saveProfile(path_, example(time(nullptr)), kNics).ok());
  ASSERT_EQ(chmod(path_.c_str(), 0622), 0);
  EXPECT_FALSE(holdsExample());
  ASSERT_EQ(chmod(path_.c_str(), 0600), 0);
  EXPECT_TRUE(holdsExample());
  std::filesystem::rename(path_, path_ + "2");
  std::filesystem::create_symlink(path_ + "2", path_);
  EXPECT_FALSE(holdsExample());
}

TEST_F(ProfileFile, ThatCannotBeWrittenIsAnErrorWithItsName) {
  Status status = saveProfile("/proc/flexlink/links", Profile(), kNics);
  EXPECT_EQ(status.code(), Code::kSystem);
  EXPECT_NE(std::string(status.text()).find("/proc/flexlink/links"), std::string::npos);
}

}  // namespace
}  // namespace flexlink
