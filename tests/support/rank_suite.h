// SPDX-License-Identifier: Apache-2.0
// A suite whose tests run bodies on ranks in the way that its parameter says:
//
//   class Streams : public RankSuite {};
//   TEST_P(Streams, ...) { pass("StreamKeepsOrder", 2); }
#pragma once

#include <gtest/gtest.h>

#include "support/rank_run.h"

namespace ranktest {

class RankSuite : public ::testing::TestWithParam<How> {
 protected:
  // args, hosts: as in RunOptions.
  static Outcome pass(const char* body, int size, const char* args = "", const char* hosts = "") {
    RunOptions o;
    o.size = size;
    o.how = GetParam();
    o.args = args;
    o.hosts = hosts;
    return expectRanksPass(body, o);
  }
};

}  // namespace ranktest
