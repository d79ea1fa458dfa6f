// SPDX-License-Identifier: Apache-2.0
// Ranks that take each other for other hosts (FLEXLINK_HOSTID): the same cases as within one host,
// over TCP. A process reads its settings once, before its first call.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/collective_case.h"
#include "support/rank_run.h"

namespace ranktest {
namespace {

Comm onAHostOfItsOwn(RankContext& ctx) {
  setenv("FLEXLINK_HOSTID", ("host" + std::to_string(ctx.rank)).c_str(), 1);
  return makeWorld(ctx);
}

RANK_BODY(CasesBetweenHosts) {
  Comm comm = onAHostOfItsOwn(ctx);
  Stream stream;
  {
    constexpr size_t kMaxBytes = size_t{2} << 20;
    CaseRunner runner(comm, ctx.rank, ctx.size, 3 * kMaxBytes);
    for (uint64_t i = 0; i < 150; ++i) {
      const Case c = drawCase(testSeed(), 40'000'000 + i, ctx.size, kMaxBytes);
      try {
        runner.run(c, i % 2 == 0 ? nullptr : static_cast<cudaStream_t>(stream));
      } catch (const RankFailure& e) {
        throw RankFailure("case " + std::to_string(i) + ": " + e.what());
      }
    }
  }
  comm.destroy();
}

RANK_BODY(UnlikeCallsBetweenHosts) {
  Comm comm = onAHostOfItsOwn(ctx);
  std::vector<float> data(50'000, 1);
  const size_t count = ctx.rank == 1 ? 49'999 : data.size();
  RANK_IS(ncclAllReduce(data.data(), data.data(), count, ncclFloat32, ncclSum, comm, nullptr),
          ncclInvalidUsage);
  RANK_MENTIONS(lastError(comm), "49999", "50000");
  comm.abort();
}

RANK_BODY(OneSidedBetweenHosts) {
  Comm comm = onAHostOfItsOwn(ctx);
  RANK_IS(ncclSignal((ctx.rank + 1) % ctx.size, 0, 0, 0, comm, nullptr), ncclInvalidUsage);
  RANK_MENTIONS(lastError(comm), "one host");
  int32_t x = 1;  // the communicator goes on
  RANK_OK(ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, comm, nullptr));
  RANK_EQ(x, ctx.size);
  comm.destroy();
}

void between(const char* body, int size) {
  RunOptions o;
  o.size = size;
  o.how = How::kProcesses;
  expectRanksPass(body, o);
}

TEST(Hosts, RandomCasesGiveExactResults) {
  between("CasesBetweenHosts", 2);
  between("CasesBetweenHosts", 4);
}
TEST(Hosts, UnlikeCallsFailOnAllRanks) { between("UnlikeCallsBetweenHosts", 3); }
TEST(Hosts, OneSidedCallsSayThatTheyNeedOneHost) { between("OneSidedBetweenHosts", 2); }

}  // namespace
}  // namespace ranktest
