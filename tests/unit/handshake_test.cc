// SPDX-License-Identifier: Apache-2.0
// Two sides that meet over a path which the test may make lose or change bytes: it becomes a link
// only when both have got what the other has sent, and else both know why not.
#include "link/tcp/handshake.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <optional>

namespace flexlink {
namespace {

constexpr size_t kAll = SIZE_MAX;

// Two connected sockets of this machine.
struct Connected {
  Fd ends[2];
  Connected() {
    Result<Fd> door = listenTcp(SocketAddress::loopback(AF_INET));
    Result<Fd> dialed = connectTcpStart(localAddress(door.value().get()).value());
    ends[0] = std::move(dialed.value());
    for (;;) {
      Result<Fd> got = acceptConnection(door.value().get());
      if (!got.ok()) continue;
      ends[1] = std::move(got.value());
      return;
    }
  }
};

// One direction: lets `passes` bytes through, and turns over a bit of the byte at `flips`.
struct Flow {
  size_t passes = kAll;
  size_t flips = kAll;
  size_t at = 0;

  void pump(int from, int to) {
    uint8_t part[4096];
    if (at >= passes) return;
    Result<size_t> got = recvSome(from, part, std::min(sizeof part, passes - at));
    if (!got.ok()) return;
    if (flips - at < got.value()) part[flips - at] ^= 4;
    at += got.value();
    (void)sendSome(to, part, got.value());
  }
};

struct Meeting {
  Connected here, there;
  Flow flows[2];  // from the dialer, from the callee
  ProcessId dialer{1}, callee{2};
  Cookie cookie{3}, shown{3};
  LinkPlace place{1, 4};
  Status ends[2] = {Status::inProgress(), Status::inProgress()};
  std::optional<Handshake> sides[2];

  // Until both have ended or nothing moves any more.
  void run() {
    sides[0].emplace(std::move(here.ends[0]), SocketAddress(), dialer, callee, shown, place);
    sides[1].emplace(std::move(there.ends[0]), callee, cookie);
    for (int turn = 0; turn < 2000; ++turn) {
      for (int side = 0; side < 2; ++side) {
        if (ends[side].code() != Code::kInProgress) continue;
        ends[side] = sides[side]->step();
        if (side == 0 && ends[0].ok()) (void)sides[0]->sayLast(Greeting::kAgain, 0);
        if (!ends[side].ok() && ends[side].code() != Code::kInProgress) closed[side] = true;
      }
      flows[0].pump(here.ends[1].get(), there.ends[1].get());
      flows[1].pump(there.ends[1].get(), here.ends[1].get());
      if (closed[0]) there.ends[1].reset();
      if (closed[1]) here.ends[1].reset();
    }
  }
  bool closed[2] = {false, false};
};

std::string textOf(const Status& status) { return status.text(); }

TEST(Handshake, APathThatCarriesBytesRightIsALink) {
  Meeting meeting;
  meeting.run();
  for (const Status& end : meeting.ends) EXPECT_TRUE(end.ok()) << end.text();
  EXPECT_EQ(meeting.sides[1]->heard().word, Greeting::kAgain);
  EXPECT_EQ(meeting.sides[1]->peer(), meeting.dialer);
  EXPECT_EQ(meeting.sides[1]->place().number, 1u);
  EXPECT_EQ(meeting.sides[1]->place().round, 4u);
  EXPECT_GT(meeting.flows[0].at, kTestBytes);
  EXPECT_GT(meeting.flows[1].at, kTestBytes);
}

TEST(Handshake, OneWrongBitIsFoundAndBothSidesSayWhere) {
  for (int from : {0, 1}) {
    for (size_t byte : {size_t{0}, size_t{1}, size_t{20'000}, kTestBytes - 1}) {
      Meeting meeting;
      meeting.flows[from].flips = sizeof(Greeting) + byte;
      meeting.run();
      std::string where = "wrong, from byte " + std::to_string(byte) + " of";
      EXPECT_EQ(textOf(meeting.ends[1 - from]).find("test bytes came " + where), 0u)
          << meeting.ends[1 - from].text();
      EXPECT_EQ(textOf(meeting.ends[from]).find("test bytes came to the peer " + where), 0u)
          << meeting.ends[from].text();
    }
  }
}

TEST(Handshake, ALastWordThatDoesNotFitTheFirstIsNone) {
  for (size_t byte : {offsetof(Greeting, cookie), offsetof(Greeting, from),
                      offsetof(Greeting, word), offsetof(Greeting, index)}) {
    Meeting meeting;
    meeting.flows[0].flips = sizeof(Greeting) + kTestBytes + byte;
    meeting.run();
    EXPECT_EQ(textOf(meeting.ends[1]), "the peer does not answer as FlexLink") << byte;
  }
}

TEST(Handshake, WhatDoesNotComeThroughIsSaid) {
  for (int from : {0, 1}) {
    Meeting meeting;
    meeting.flows[from].passes = sizeof(Greeting);  // as where large packets are lost
    meeting.run();
    EXPECT_EQ(meeting.ends[1 - from].code(), Code::kInProgress) << meeting.ends[1 - from].text();
    EXPECT_EQ(textOf(meeting.sides[1 - from]->late(900'000'000)).find("in 900 ms 0 of 32768 test"),
              0u);
    EXPECT_TRUE(meeting.sides[1]->met());
  }
}

TEST(Handshake, WhoDoesNotKnowTheCookieLearnsNothing) {
  Meeting meeting;
  meeting.shown = Cookie{9};
  meeting.run();
  EXPECT_EQ(meeting.ends[1].code(), Code::kRemote);
  EXPECT_FALSE(meeting.sides[1]->met());
  EXPECT_EQ(meeting.flows[1].at, 0u);
}

}  // namespace
}  // namespace flexlink
