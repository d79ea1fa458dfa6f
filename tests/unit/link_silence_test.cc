// SPDX-License-Identifier: Apache-2.0
// For how long the other end has owed an answer, from what the kernel says now and then.
#include <gtest/gtest.h>

#include "link/silence.h"

namespace flexlink {
namespace {

constexpr int64_t kMs = 1'000'000;

TEST(Silence, NothingIsKnownWithoutAPulse) {
  Silence silence;
  silence.look(1000 * kMs, {});
  EXPECT_EQ(silence.ofHost(9000 * kMs), 0);
  EXPECT_EQ(silence.heardAt(), 0);
}

TEST(Silence, CountsFromTheFirstLookThatFoundTheSameBytesOwed) {
  Silence silence;
  silence.look(1000 * kMs, {true, 500, 900 * kMs});
  EXPECT_EQ(silence.ofHost(1000 * kMs), 0);  // they may have left just now
  silence.look(1100 * kMs, {true, 500, 1000 * kMs});
  EXPECT_EQ(silence.ofHost(1100 * kMs), 100 * kMs);
  silence.look(1200 * kMs, {true, 501, 1 * kMs});  // some were acknowledged
  EXPECT_EQ(silence.ofHost(1200 * kMs), 0);
  silence.look(1300 * kMs, {false, 600, 50 * kMs});
  EXPECT_EQ(silence.ofHost(1300 * kMs), 0);
}

TEST(Silence, WhatWasSentLongAfterTheLastLookIsNotOwedSinceThen) {
  Silence silence;
  silence.look(1000 * kMs, {true, 500, 0});
  silence.look(9000 * kMs, {true, 600, 7990 * kMs});
  EXPECT_EQ(silence.ofHost(9000 * kMs), 0);
  EXPECT_EQ(silence.heardAt(), 1010 * kMs);
}

// A window that stays closed: nothing is acknowledged, but every probe is answered.
TEST(Silence, AHostThatAnswersProbesIsNotSilent) {
  Silence silence;
  for (int64_t at = 1000; at < 20'000; at += 50) silence.look(at * kMs, {true, 500, 300 * kMs});
  EXPECT_EQ(silence.ofHost(20'000 * kMs), 350 * kMs);
}

}  // namespace
}  // namespace flexlink
