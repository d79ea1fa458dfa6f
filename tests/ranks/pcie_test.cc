// SPDX-License-Identifier: Apache-2.0
// Processes of one machine that take each other for other hosts, over shared memory alone, beside
// TCP, and where only one of them wants it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "support/check.h"
#include "support/rank_run.h"

namespace ranktest {
namespace {

// With an argument: the rank that wants no link but TCP.
RANK_BODY(ExactOverItsLinks) {
  if (!ctx.args.empty() && std::stoi(ctx.args) == ctx.rank) unsetenv("FLEXLINK_LINKS");
  Comm comm = makeWorld(ctx);
  for (const size_t count : {size_t{1}, size_t{1000}, size_t{70'001}, size_t{6'000'000}}) {
    std::vector<int32_t> data(count);
    for (size_t i = 0; i < count; ++i) data[i] = static_cast<int32_t>(i % 1000) + ctx.rank;
    RANK_OK(ncclAllReduce(data.data(), data.data(), count, ncclInt32, ncclSum, comm, nullptr));
    const int32_t ranks = ctx.size * (ctx.size - 1) / 2;
    for (size_t i = 0; i < count; ++i) {
      RANK_EQ(data[i], static_cast<int32_t>(i % 1000) * ctx.size + ranks);
    }
    std::vector<int32_t> in(count, -1);
    const int next = (ctx.rank + 1) % ctx.size, last = (ctx.rank + ctx.size - 1) % ctx.size;
    RANK_OK(ncclGroupStart());
    RANK_OK(ncclSend(data.data(), count, ncclInt32, next, comm, nullptr));
    RANK_OK(ncclRecv(in.data(), count, ncclInt32, last, comm, nullptr));
    RANK_OK(ncclGroupEnd());
    RANK_TRUE(in == data);
  }
  comm.destroy();
}

RunOptions linked(const std::string& links, int size) {
  RunOptions o;
  o.size = size;
  o.hosts = "0123";
  o.env = {"FLEXLINK_LINKS=" + links, "NCCL_DEBUG=INFO"};
  return o;
}

bool uses(const Outcome& outcome, const std::string& link) {
  std::istringstream lines(outcome.output);
  for (std::string line; std::getline(lines, line);) {
    const bool path = line.find("path " + link + " to ") != std::string::npos;
    if (path && line.find(" is used") != std::string::npos) return true;
  }
  return false;
}

TEST(Pcie, AloneCarriesEverythingExactly) {
  const Outcome outcome = expectRanksPass("ExactOverItsLinks", linked("pcie", 3));
  EXPECT_TRUE(uses(outcome, "pcie"));
  EXPECT_FALSE(uses(outcome, "tcp:lo"));
}

TEST(Pcie, AndTcpCarryTogether) {
  const Outcome outcome = expectRanksPass("ExactOverItsLinks", linked("pcie,tcp:lo", 2));
  EXPECT_TRUE(uses(outcome, "pcie"));
  EXPECT_TRUE(uses(outcome, "tcp:lo"));
}

TEST(Pcie, IsLeftOutWhereThePeerDoesNotWantIt) {
  for (const char* odd : {"0", "1"}) {
    RunOptions o = linked("pcie,tcp:lo", 2);
    o.args = odd;
    const Outcome outcome = expectRanksPass("ExactOverItsLinks", o);
    EXPECT_FALSE(uses(outcome, "pcie")) << odd;
    EXPECT_TRUE(uses(outcome, "tcp:lo")) << odd;
  }
}

TEST(Pcie, SmallMemoryIsEnough) {
  RunOptions o = linked("pcie", 2);
  o.env.emplace_back("FLEXLINK_PCIE_BUFFER=131072");
  expectRanksPass("ExactOverItsLinks", o);
}

}  // namespace
}  // namespace ranktest
