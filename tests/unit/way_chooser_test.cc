// SPDX-License-Identifier: Apache-2.0
#include "schedule/way_chooser.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>

namespace flexlink {
namespace {

using Times = std::array<int64_t, WayChooser::kWays>;
using Uses = std::array<int, WayChooser::kWays>;

// Runs operations whose ways take the given times (ns); returns how often each was used.
Uses run(WayChooser* chooser, int operations, const Times& nanos, unsigned possible = 3) {
  Uses uses{};
  for (int i = 0; i < operations; ++i) {
    int way = chooser->way();
    ++uses[static_cast<size_t>(way)];
    chooser->report(way, nanos[static_cast<size_t>(way)], possible, 1);
  }
  return uses;
}

TEST(WayChooser, TriesAllThenKeepsTheFastest) {
  for (size_t fastest = 0; fastest < WayChooser::kWays; ++fastest) {
    Times times{100, 100, 100};
    times[fastest] = 50;
    WayChooser chooser;
    EXPECT_EQ(run(&chooser, 12, times, 7), (Uses{4, 4, 4}));
    EXPECT_GE(run(&chooser, 1000, times, 7)[fastest], 975);
  }
}

TEST(WayChooser, NeverTakesWhatIsNotPossible) {
  WayChooser chooser;
  Uses uses = run(&chooser, 1000, {100, 1, 90}, 1u | 1u << 2);
  EXPECT_EQ(uses[1], 0);
  EXPECT_GE(uses[2], 980);
}

TEST(WayChooser, FollowsAMachineThatChanges) {
  WayChooser chooser;
  run(&chooser, 500, {100, 50});
  // What was fast becomes slow: its own times say so at once.
  EXPECT_LE(run(&chooser, 100, {100, 500})[1], 20);
  // What was slow becomes fast: the next trial finds it, here after at most 16 x 400 operations.
  run(&chooser, 6500, {100, 10});
  EXPECT_GE(run(&chooser, 100, {100, 10})[1], 95);
}

TEST(WayChooser, TrialsCostAPercentOfTheTime) {
  WayChooser chooser;
  Times times{1000, 15000};  // a way that is 15 times as slow
  run(&chooser, 8, times);
  Uses uses = run(&chooser, 100000, times);
  EXPECT_GE(uses[1], 3);
  EXPECT_LE(uses[1] * times[1], (uses[0] * times[0] + uses[1] * times[1]) * 12 / 1000);
}

TEST(WayChooser, TheFirstUseOfAWayIsNotHeldAgainstIt) {
  WayChooser chooser;
  for (int i = 0; i < 8; ++i) {
    int way = chooser.way();
    chooser.report(way, i == 0 || i == 4 ? 1000000 : way == 1 ? 50 : 100, 3, 1);
  }
  EXPECT_GE(run(&chooser, 100, {100, 50})[1], 90);
}

TEST(WayChooser, OneInterruptChangesNothing) {
  WayChooser chooser;
  Times times{50, 100};
  run(&chooser, 20, times);
  chooser.report(0, 1000000, 3, 1);
  EXPECT_EQ(chooser.way(), 0);
  EXPECT_GE(run(&chooser, 100, times)[0], 95);
}

// Way 0 is the fastest, but each of the last 40 operations that took another makes it slower.
TEST(WayChooser, WaitsUntilTheFirstWayIsWarm) {
  WayChooser chooser;
  std::deque<int> last(40, 1);
  int used = 0;
  for (int i = 0; i < 50000; ++i) {
    int way = chooser.way();
    auto cold = std::count(last.begin(), last.end(), 1);
    if (i >= 40000) used += way == 0 ? 1 : 0;
    chooser.report(way, way == 1 ? 70 : 50 + cold * 50 / 40, 3, 40);
    last.pop_front();
    last.push_back(way);
  }
  EXPECT_GE(used, 9800);
}

TEST(WayChooser, LeavesAWayThatTurnsOutToBeImpossible) {
  WayChooser chooser;
  int stuck = 0;
  for (int i = 0; i < 1000; ++i) {
    int way = chooser.way();
    stuck += way == 2 ? 1 : 0;
    // The lane takes way 0 instead, and says from then on that 2 is not possible.
    chooser.report(way == 2 ? 0 : way, way == 1 ? 50 : 100, way == 2 ? 3 : 7, 1);
  }
  EXPECT_LE(stuck, 2);
  EXPECT_EQ(chooser.home(), 1);
}

TEST(WayChooser, BeginsWithWhatItIsTold) {
  WayChooser chooser(1);
  EXPECT_EQ(chooser.way(), 1);
  EXPECT_EQ(run(&chooser, 8, {100, 50}), (Uses{4, 4, 0}));
  EXPECT_EQ(chooser.home(), 1);
}

// Ranks learn of a choice one operation late.
TEST(WayChooser, ReportsOfTheLastChoiceAreNotTakenForTheNew) {
  WayChooser chooser;
  int told = 0, used = 0;
  for (int i = 0; i < 1000; ++i) {
    int next = chooser.way();
    used += told == 1 ? 1 : 0;
    chooser.report(told, told == 1 ? 50 : 100, 3, 1);
    told = next;
  }
  EXPECT_GE(used, 970);
}

}  // namespace
}  // namespace flexlink
