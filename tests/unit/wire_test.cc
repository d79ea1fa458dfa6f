// SPDX-License-Identifier: Apache-2.0
// What ranks say to each other before they share memory: packing, and what damaged bytes do.
#include "comm/wire.h"

#include <gtest/gtest.h>
#include <string.h>

#include <random>

#include "comm/unique_id.h"

namespace flexlink {
namespace {

Meeting someMeeting() {
  Meeting meeting;
  meeting.cookie.fill(7);
  meeting.key = 42;
  meeting.size = 5;
  meeting.index = 3;
  return meeting;
}

TEST(Wire, HelloArrivesAsItWasSaid) {
  wire::Hello hello;
  ASSERT_TRUE(wire::unpackHello(wire::packHello(someMeeting(), "blob"), &hello));
  EXPECT_EQ(hello.protocolVersion, wire::kProtocolVersion);
  EXPECT_EQ(hello.cookie, someMeeting().cookie);
  EXPECT_EQ(hello.key, 42u);
  EXPECT_EQ(hello.size, 5u);
  EXPECT_EQ(hello.index, 3u);
  EXPECT_EQ(hello.blob, "blob");
}

TEST(Wire, HelloOfAnotherVersionIsUnderstoodAsFarAsItsVersion) {
  std::string bytes = wire::packHello(someMeeting(), "blob");
  bytes[0] = 99;
  wire::Hello hello;
  ASSERT_TRUE(wire::unpackHello(bytes.substr(0, bytes.size() - 9), &hello));
  EXPECT_EQ(hello.protocolVersion, 99u);
  EXPECT_FALSE(hello.version.empty());
  EXPECT_FALSE(hello.host.empty());
}

TEST(Wire, HelloOutsideItsMeetingIsNone) {
  Meeting meeting = someMeeting();
  meeting.index = 5;
  wire::Hello hello;
  EXPECT_FALSE(wire::unpackHello(wire::packHello(meeting, ""), &hello));
  meeting.size = meeting.index = 0;
  EXPECT_FALSE(wire::unpackHello(wire::packHello(meeting, ""), &hello));
}

TEST(Wire, RoundArrivesAsItWasSaid) {
  std::vector<std::string> blobs{"", std::string("a\0b", 3), std::string(1000, 'x')};
  auto got = wire::unpackRound(wire::packRound(blobs));
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got.value(), blobs);
}

TEST(Wire, FailureArrivesWithCodeAndText) {
  auto got = wire::unpackRound(wire::packFailure(makeStatus(Code::kTimeout, "rank 3")));
  EXPECT_EQ(got.status().code(), Code::kTimeout);
  EXPECT_STREQ(got.status().text(), "rank 3");
}

TEST(Wire, AnyBytesGiveAnAnswerAndNeverMoreThanTheyHold) {
  std::mt19937 random(1);
  std::string good = wire::packHello(someMeeting(), "blob");
  std::string round = wire::packRound({"one", "two"});
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = i % 2 ? good : round;
    for (int flips = static_cast<int>(random() % 4) + 1; flips > 0; --flips) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    bytes.resize(random() % (bytes.size() + 1));
    wire::Hello hello;
    (void)wire::unpackHello(bytes, &hello);
    auto got = wire::unpackRound(bytes);
    if (got.ok()) {
      for (const std::string& blob : got.value()) EXPECT_LE(blob.size(), bytes.size());
    }
  }
}

TEST(UniqueId, ArrivesAsItWasMade) {
  UniqueId id;
  id.address = parse("192.0.2.1:4711").value();
  id.cookie = randomCookie();
  auto got = unpackUniqueId(packUniqueId(id));
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got.value().address, id.address);
  EXPECT_EQ(got.value().cookie, id.cookie);
}

TEST(UniqueId, OfSomebodyElseIsRefused) {
  ncclUniqueId zero{};
  EXPECT_EQ(unpackUniqueId(zero).status().code(), Code::kInvalidArgument);
  ncclUniqueId noise;
  memset(&noise, 0x5a, sizeof noise);
  EXPECT_FALSE(unpackUniqueId(noise).ok());
}

TEST(Cookies, DerivedOnesDifferAndRepeat) {
  Cookie parent = randomCookie();
  EXPECT_EQ(deriveCookie(parent, 1, 2), deriveCookie(parent, 1, 2));
  EXPECT_NE(deriveCookie(parent, 1, 2), deriveCookie(parent, 2, 1));
  EXPECT_NE(deriveCookie(parent, 1, 2), deriveCookie(parent, 1, 3));
  EXPECT_NE(deriveCookie(parent, 1, 2), parent);
  EXPECT_NE(cookieFromSecret("a", "h:1"), cookieFromSecret("b", "h:1"));
  EXPECT_NE(cookieFromSecret("a", "h:1"), cookieFromSecret("a", "h:2"));
}

}  // namespace
}  // namespace flexlink
