// SPDX-License-Identifier: Apache-2.0
// How ranks meet: interfaces, address families, port ranges, NCCL_COMM_ID, secrets; and the ways
// between processes that settings turn off.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "support/check.h"
#include "support/collective_case.h"
#include "support/proc.h"
#include "support/rank_run.h"

namespace ranktest {
namespace {

RANK_BODY(Meet) {
  Comm comm = makeWorld(ctx);
  std::vector<int32_t> data(5000, 1);
  RANK_OK(ncclAllReduce(data.data(), data.data(), 5000, ncclInt32, ncclSum, comm, nullptr));
  for (int32_t x : data) RANK_EQ(x, ctx.size);
  for (int port : listeningPorts(getpid())) ctx.publish(static_cast<uint64_t>(port));
  ctx.barrier();
  comm.destroy();
}

RANK_BODY(MeetAtCommId) {
  ncclUniqueId id;
  RANK_OK(ncclGetUniqueId(&id));
  Comm comm;
  if (ctx.rank == 0) usleep(300'000);  // the others knock before anybody listens
  RANK_OK(ncclCommInitRank(comm.put(), ctx.size, id, ctx.rank));
  int32_t x = 1;
  RANK_OK(ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, comm, nullptr));
  RANK_EQ(x, ctx.size);
  comm.destroy();
}

RANK_BODY(NoInterface) {
  ncclUniqueId id;
  RANK_IS(ncclGetUniqueId(&id), ncclInvalidUsage);
  RANK_MENTIONS(lastError(nullptr), "nosuchinterface", "NCCL_SOCKET_IFNAME");
}

RANK_BODY(SomeCases) {
  Comm comm = makeWorld(ctx);
  {
    CaseRunner runner(comm, ctx.rank, ctx.size, size_t{6} << 20);
    for (uint64_t i = 0; i < 60; ++i) {
      runner.run(drawCase(99, i, ctx.size, size_t{2} << 20), nullptr);
    }
    ctx.publish(runner.digest());
  }
  comm.destroy();
}

Outcome pass(const char* body, int size, std::vector<std::string> env) {
  RunOptions o;
  o.size = size;
  o.how = How::kProcesses;
  o.env = std::move(env);
  SCOPED_TRACE(o.env.empty() ? "" : o.env[0]);
  return expectRanksPass(body, o);
}

TEST(Bootstrap, RunsOnTheInterfaceThatWasAskedFor) {
  pass("Meet", 2, {"NCCL_SOCKET_IFNAME=lo"});
  pass("Meet", 2, {"NCCL_SOCKET_IFNAME==lo"});
  pass("Meet", 2, {"NCCL_OOB_NET_IFNAME=lo", "NCCL_SOCKET_IFNAME=nosuchinterface"});
}

TEST(Bootstrap, UnknownInterfaceIsAnErrorThatNamesTheSetting) {
  pass("NoInterface", 1, {"NCCL_SOCKET_IFNAME=nosuchinterface"});
}

TEST(Bootstrap, RunsOnEitherAddressFamily) {
  pass("Meet", 2, {"NCCL_SOCKET_FAMILY=AF_INET"});
  pass("Meet", 2, {"NCCL_SOCKET_FAMILY=AF_INET6", "NCCL_SOCKET_IFNAME=lo"});
}

TEST(Bootstrap, ListensInsideThePortRange) {
  const int first = 22000 + getpid() % 4000;
  const Outcome out =
      pass("Meet", 3,
           {"FLEXLINK_PORT_RANGE=" + std::to_string(first) + "-" + std::to_string(first + 9)});
  ASSERT_FALSE(out.values[0].empty());
  for (const auto& ports : out.values) {
    for (uint64_t port : ports) {
      EXPECT_GE(port, static_cast<uint64_t>(first));
      EXPECT_LE(port, static_cast<uint64_t>(first) + 9);
    }
  }
}

TEST(Bootstrap, CommIdIsWaitedForAndMayHaveASecret) {
  const std::string port = std::to_string(26000 + getpid() % 4000);
  pass("MeetAtCommId", 3, {"NCCL_COMM_ID=127.0.0.1:" + port});
  pass("MeetAtCommId", 2, {"NCCL_COMM_ID=localhost:" + port, "FLEXLINK_SECRET=of the job"});
  pass("MeetAtCommId", 2, {"NCCL_COMM_ID=[::1]:" + port});
}

TEST(Ways, SettingsThatTurnWaysOffChangeNoBit) {
  const Outcome usual = pass("SomeCases", 3, {});
  ASSERT_FALSE(usual.values[0].empty());
  for (const char* setting : {"FLEXLINK_CMA=0", "FLEXLINK_DIRECT=0", "FLEXLINK_EAGER_BYTES=0",
                              "FLEXLINK_EAGER_BYTES=1048576", "FLEXLINK_CHUNK_BYTES=4096",
                              "FLEXLINK_CHUNK_BYTES=1000", "FLEXLINK_SIMD=portable",
                              "FLEXLINK_PROBE=0", "FLEXLINK_COPIES=device", "FLEXLINK_SPIN_US=0"}) {
    EXPECT_EQ(pass("SomeCases", 3, {setting}).values, usual.values) << setting;
  }
  EXPECT_EQ(pass("SomeCases", 3, {"FLEXLINK_CMA=0", "FLEXLINK_DIRECT=0"}).values, usual.values);
}

}  // namespace
}  // namespace ranktest
