// SPDX-License-Identifier: Apache-2.0
#include "schedule/way_chooser.h"

#include <gtest/gtest.h>

namespace flexlink {
namespace {

// Runs operations whose ways take the given times; returns how often way 1 was used.
int run(WayChooser* chooser, int operations, int64_t nanos0, int64_t nanos1) {
  int second = 0;
  for (int i = 0; i < operations; ++i) {
    int way = chooser->choose();
    second += way;
    chooser->report(way, way == 0 ? nanos0 : nanos1);
  }
  return second;
}

TEST(WayChooser, TriesBothThenKeepsTheFaster) {
  WayChooser chooser;
  EXPECT_EQ(run(&chooser, 6, 100, 50), 3);
  EXPECT_GE(run(&chooser, 1000, 100, 50), 985);
  WayChooser other;
  run(&other, 6, 50, 100);
  EXPECT_LE(run(&other, 1000, 50, 100), 15);
}

TEST(WayChooser, FollowsAMachineThatChanges) {
  WayChooser chooser;
  run(&chooser, 500, 100, 50);
  // What was fast becomes slow: its own times say so at once.
  EXPECT_LE(run(&chooser, 100, 100, 500), 20);
  // What was slow becomes fast: the next try finds it.
  run(&chooser, 300, 100, 10);
  EXPECT_GE(run(&chooser, 100, 100, 10), 95);
}

TEST(WayChooser, TheFirstUseOfAWayIsNotHeldAgainstIt) {
  WayChooser chooser;
  for (int i = 0; i < 6; ++i) {
    int way = chooser.choose();
    chooser.report(way, i == 3 ? 1000000 : way == 1 ? 50 : 100);
  }
  EXPECT_GE(run(&chooser, 100, 100, 50), 95);
}

}  // namespace
}  // namespace flexlink
