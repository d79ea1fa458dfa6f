// SPDX-License-Identifier: Apache-2.0
// Ranks that take each other for other hosts (FLEXLINK_HOSTID): the same cases as within one host,
// by the message lane and the hier lane over TCP.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/collective_case.h"
#include "support/rank_run.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

RANK_BODY(UnlikeCallsBetweenHosts) {
  Comm comm = makeWorld(ctx);
  std::vector<float> data(50'000, 1);
  const size_t count = ctx.rank == 1 ? 49'999 : data.size();
  RANK_IS(ncclAllReduce(data.data(), data.data(), count, ncclFloat32, ncclSum, comm, nullptr),
          ncclInvalidUsage);
  RANK_MENTIONS(lastError(comm), "49999", "50000");
  comm.abort();
}

RANK_BODY(FactsBetweenHosts) {
  Comm comm = makeWorld(ctx);
  ncclCommProperties_t facts = NCCL_COMM_PROPERTIES_INITIALIZER;
  RANK_OK(ncclCommQueryProperties(comm, &facts));
  RANK_EQ(facts.nLsaTeams, std::stoi(ctx.args));
  RANK_TRUE(facts.hostRmaSupport);
  comm.destroy();
}

// A late put must not land in memory that is no window any more.
RANK_BODY(PutIntoNoWindow) {
  Comm comm = makeWorld(ctx);
  std::vector<int32_t> memory(5000, -1), mine(5000, 7);
  ncclWindow_t window = nullptr;
  void* shared = nullptr;
  RANK_OK(ncclMemAlloc(&shared, memory.size() * sizeof(int32_t)));
  std::fill_n(static_cast<int32_t*>(shared), memory.size(), -1);
  RANK_OK(ncclCommWindowRegister(comm, shared, memory.size() * sizeof(int32_t), &window, 0));
  if (ctx.rank == 1) RANK_OK(ncclCommWindowDeregister(comm, window));
  ctx.barrier();
  if (ctx.rank == 0) {
    RANK_IS(
        ncclPutSignal(mine.data(), mine.size(), ncclInt32, 1, window, 0, 0, 0, 0, comm, nullptr),
        ncclRemoteError);
  } else {
    ncclWaitSignalDesc_t one{1, 0, 0, 0};
    RANK_IS(ncclWaitSignal(1, &one, comm, nullptr), ncclRemoteError);
  }
  RANK_MENTIONS(lastError(comm), "rank 0", "no window");
  comm.abort();
  for (size_t i = 0; i < memory.size(); ++i) RANK_EQ(static_cast<int32_t*>(shared)[i], -1);
  RANK_OK(ncclMemFree(shared));
}

// Whatever two ranks call, all must hear of it. Arguments: the odd rank, or h: the second host;
// what it calls; what the others call.
RANK_BODY(UnlikeKindsBetweenHosts) {
  Comm comm = makeWorld(ctx);
  std::vector<float> in(64'000, 1), out(64'000);
  const size_t count = 64'000 / static_cast<size_t>(ctx.size);
  const auto call = [&](int kind) {
    switch (kind) {
      case 0:
        return ncclAllReduce(in.data(), out.data(), count, ncclFloat32, ncclSum, comm, nullptr);
      case 1:
        return ncclAllGather(in.data(), out.data(), count, ncclFloat32, comm, nullptr);
      case 2:
        return ncclAlltoAll(in.data(), out.data(), count, ncclFloat32, comm, nullptr);
      case 3:
        return ncclBroadcast(in.data(), out.data(), count, ncclFloat32, 1, comm, nullptr);
      default:
        return ncclReduceScatter(in.data(), out.data(), count, ncclFloat32, ncclSum, comm, nullptr);
    }
  };
  const bool odd = ctx.args[0] == 'h' ? ctx.rank * 2 >= ctx.size : ctx.rank == ctx.args[0] - '0';
  RANK_IS(call(ctx.args[odd ? 1 : 2] - '0'), ncclInvalidUsage);
  RANK_MENTIONS(lastError(comm), "does not match", "same calls");
  comm.abort();
}

struct Spread {
  int size;
  const char* hosts;
  How how = How::kProcesses;
};

void between(const char* body, const Spread& spread, const std::string& args = "") {
  RunOptions o;
  o.size = spread.size;
  o.how = spread.how;
  o.hosts = spread.hosts;
  o.args = args;
  SCOPED_TRACE(std::string("hosts ") + spread.hosts);
  expectRanksPass(body, o);
}

const Spread kSpreads[] = {{2, "01"},  {4, "0123"}, {4, "0011"},  {4, "0101", How::kMixed},
                           {3, "001"}, {4, "0111"}, {5, "00101"}, {6, "001122"}};

std::string cases(int count, size_t maxBytes) {
  return std::to_string(testSeed()) + " 40000000 " + std::to_string(inReach(count)) + " " +
         std::to_string(maxBytes);
}

TEST(Hosts, RandomCasesGiveExactResults) {
  printf("FLEXLINK_TEST_SEED=%llu\n", static_cast<unsigned long long>(testSeed()));
  for (const Spread& spread : kSpreads) between("RandomCases", spread, cases(100, 2 << 20));
}
TEST(Hosts, LongCasesGiveExactResults) {
  between("RandomCases", {4, "0011"}, cases(12, 48 << 20));
  between("RandomCases", {2, "01"}, cases(12, 48 << 20));
}
TEST(Hosts, BatchesOnAStreamAndInGroupsGiveExactResults) {
  for (const Spread& spread : kSpreads) between("RandomBatches", spread, cases(48, 256 << 10));
}
TEST(Hosts, UnlikeCallsFailOnAllRanks) {
  for (const char* hosts : {"012", "011", "001"}) between("UnlikeCallsBetweenHosts", {3, hosts});
}
TEST(Hosts, UnlikeKindsFailOnAllRanks) {
  for (const char* unlike :
       {"001", "310", "212", "324", "042", "140", "h01", "h10", "h12", "h24"}) {
    between("UnlikeKindsBetweenHosts", {4, "0011"}, unlike);
  }
}
TEST(Hosts, PutsAndSignalsReachTheOtherHosts) {
  for (const Spread& spread : kSpreads) {
    between("PutToAll", spread);
    between("PutToAll", spread, "stream");
    between("SignalsAreCounted", spread);
  }
  between("SignalFollowsPuts", {2, "01"});
  between("SignalFollowsPuts", {3, "011"});
}
TEST(Hosts, EachHostIsATeamOfLoadAndStore) {
  between("FactsBetweenHosts", {2, "00"}, "1");
  between("FactsBetweenHosts", {2, "01"}, "2");
  between("FactsBetweenHosts", {4, "0121"}, "3");
}
TEST(Hosts, APutIntoNoWindowLandsNowhere) { between("PutIntoNoWindow", {2, "01"}); }
TEST(Hosts, ChildrenWorkOnTheirPartOfTheHosts) {
  for (const char* body : {"SplitByColourAndKey", "SplitNoColour"}) {
    between(body, {4, "0011"});
    between(body, {4, "0101", How::kMixed});
    between(body, {4, "0123"});
  }
}

}  // namespace
}  // namespace ranktest
