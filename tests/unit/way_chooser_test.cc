// SPDX-License-Identifier: Apache-2.0
#include "schedule/way_chooser.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace flexlink {
namespace {

using Times = std::array<int64_t, WayChooser::kWays>;
using Uses = std::array<int, WayChooser::kWays>;

// Runs operations whose ways take the given times (ns); returns how often each was used.
Uses run(WayChooser* chooser, int operations, const Times& nanos, unsigned possible = 3) {
  Uses uses{};
  for (int i = 0; i < operations; ++i) {
    auto way = static_cast<size_t>(chooser->choose(possible));
    ++uses[way];
    chooser->report(static_cast<int>(way), nanos[way]);
  }
  return uses;
}

TEST(WayChooser, TriesAllThenKeepsTheFastest) {
  for (size_t fastest = 0; fastest < WayChooser::kWays; ++fastest) {
    Times times{100, 100, 100, 100};
    times[fastest] = 50;
    WayChooser chooser;
    EXPECT_EQ(run(&chooser, 12, times, 15), (Uses{3, 3, 3, 3}));
    EXPECT_GE(run(&chooser, 1000, times, 15)[fastest], 980);
  }
}

TEST(WayChooser, NeverTakesWhatIsNotPossible) {
  WayChooser chooser;
  Uses uses = run(&chooser, 1000, {100, 1, 90, 1}, 1u | 1u << 2);
  EXPECT_EQ(uses[1] + uses[3], 0);
  EXPECT_GE(uses[2], 980);
}

TEST(WayChooser, FollowsAMachineThatChanges) {
  WayChooser chooser;
  run(&chooser, 500, {100, 50});
  // What was fast becomes slow: its own times say so at once.
  EXPECT_LE(run(&chooser, 100, {100, 500})[1], 20);
  // What was slow becomes fast: the next try finds it.
  run(&chooser, 600, {100, 10});
  EXPECT_GE(run(&chooser, 100, {100, 10})[1], 95);
}

TEST(WayChooser, RetriesCostAPercentOfTheTime) {
  WayChooser chooser;
  Times times{1000, 15000};  // a way that is 15 times as slow
  run(&chooser, 6, times);
  Uses uses = run(&chooser, 10000, times);
  EXPECT_GE(uses[1], 1);
  EXPECT_LE(uses[1] * times[1], (uses[0] * times[0] + uses[1] * times[1]) * 12 / 1000);
}

TEST(WayChooser, TheFirstUseOfAWayIsNotHeldAgainstIt) {
  WayChooser chooser;
  for (int i = 0; i < 6; ++i) {
    int way = chooser.choose(3);
    chooser.report(way, i == 3 ? 1000000 : way == 1 ? 50 : 100);
  }
  EXPECT_GE(run(&chooser, 100, {100, 50})[1], 95);
}

}  // namespace
}  // namespace flexlink
