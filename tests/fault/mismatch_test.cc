// SPDX-License-Identifier: Apache-2.0
// Ranks that call different things: ncclInvalidUsage on all of them, with both calls in the text,
// and from then on the same error for every call.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "support/check.h"
#include "support/rank_run.h"
#include "support/rank_suite.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

using Call = std::function<ncclResult_t(int32_t* in, int32_t* out, size_t n, ncclComm_t comm)>;

// What most ranks call, what the odd one calls, and a word of each that both texts must hold.
struct Mismatch {
  const char* name;
  Call usual;
  Call odd;
  const char* usualWord;
  const char* oddWord;
};

ncclResult_t allReduce(int32_t* in, int32_t* out, size_t n, ncclDataType_t type, ncclRedOp_t op,
                       ncclComm_t comm) {
  return ncclAllReduce(in, out, n, type, op, comm, nullptr);
}

const std::vector<Mismatch>& mismatches() {
  static const Call plain = [](auto* in, auto* out, size_t n, ncclComm_t c) {
    return allReduce(in, out, n, ncclInt32, ncclSum, c);
  };
  static const auto* list = new std::vector<Mismatch>{
      {"count", plain,
       [](auto* in, auto* out, size_t n, ncclComm_t c) {
         return allReduce(in, out, n + 1, ncclInt32, ncclSum, c);
       },
       "AllReduce", "AllReduce"},
      {"count 0", plain,
       [](auto* in, auto* out, size_t, ncclComm_t c) {
         return allReduce(in, out, 0, ncclInt32, ncclSum, c);
       },
       "AllReduce", " 0"},
      {"type", plain,
       [](auto* in, auto* out, size_t n, ncclComm_t c) {
         return allReduce(in, out, n, ncclFloat32, ncclSum, c);
       },
       "int32", "float32"},
      {"op", plain,
       [](auto* in, auto* out, size_t n, ncclComm_t c) {
         return allReduce(in, out, n, ncclInt32, ncclMax, c);
       },
       "sum", "max"},
      {"root",
       [](auto* in, auto* out, size_t n, ncclComm_t c) {
         return ncclBroadcast(in, out, n, ncclInt32, 0, c, nullptr);
       },
       [](auto* in, auto* out, size_t n, ncclComm_t c) {
         return ncclBroadcast(in, out, n, ncclInt32, 1, c, nullptr);
       },
       "root 0", "root 1"},
      {"collective", plain,
       [](auto* in, auto* out, size_t n, ncclComm_t c) {
         return ncclBroadcast(in, out, n, ncclInt32, 0, c, nullptr);
       },
       "AllReduce", "Broadcast"},
      {"AllGather against ReduceScatter",
       [](auto* in, auto* out, size_t n, ncclComm_t c) {
         return ncclAllGather(in, out, n, ncclInt32, c, nullptr);
       },
       [](auto* in, auto* out, size_t n, ncclComm_t c) {
         return ncclReduceScatter(in, out, n, ncclInt32, ncclSum, c, nullptr);
       },
       "AllGather", "ReduceScatter"},
  };
  return *list;
}

RANK_BODY(Mismatches) {
  const int odd = ctx.size - 1;
  int number = 0;
  for (const Mismatch& m : mismatches()) {
    for (size_t n : {size_t{3}, size_t{2000}, size_t{300'000}}) {
      Comm comm = makeWorld(ctx, number++);
      std::vector<int32_t> in((n + 1) * static_cast<size_t>(ctx.size), 1);
      std::vector<int32_t> out(in.size());
      const Call& call = ctx.rank == odd ? m.odd : m.usual;
      ncclResult_t result = ncclSuccess;
      const double seconds = timed([&] { result = call(in.data(), out.data(), n, comm); });
      checkResult(result, ncclInvalidUsage, m.name, RANK_WHERE, comm);
      RANK_MENTIONS(lastError(comm), m.usualWord, m.oddWord, "rank " + std::to_string(odd));
      if (std::string(m.name) == "count") {
        RANK_MENTIONS(lastError(comm), std::to_string(n), std::to_string(n + 1));
      }
      RANK_TRUE_MSG(seconds < 2 * kSlowdown, m.name << ": " << seconds << " s");
      RANK_IS(ncclAllReduce(in.data(), out.data(), 1, ncclInt32, ncclSum, comm, nullptr),
              ncclInvalidUsage);
      ncclResult_t state = ncclSuccess;
      RANK_OK(ncclCommGetAsyncError(comm, &state));
      RANK_EQ(state, ncclInvalidUsage);
      ctx.barrier();
      comm.abort();
    }
  }
}

// One rank is an operation ahead on a stream: found by the sequence, not suffered.
RANK_BODY(MismatchInAGroup) {
  Comm comm = makeWorld(ctx);
  std::vector<int32_t> a(1000, 1);
  std::vector<int32_t> b(1000, 1);
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclAllReduce(a.data(), a.data(), 1000, ncclInt32, ncclSum, comm, nullptr));
  RANK_OK(ncclAllReduce(b.data(), b.data(), ctx.rank == 1 ? 999 : 1000, ncclInt32, ncclSum, comm,
                        nullptr));
  RANK_IS(ncclGroupEnd(), ncclInvalidUsage);
  RANK_MENTIONS(lastError(comm), "1000", "999");
  comm.abort();
}

RANK_BODY(MismatchedMessage) {
  int number = 0;
  for (size_t n : {size_t{0}, size_t{10}, size_t{200'000}}) {
    Comm comm = makeWorld(ctx, number++);
    std::vector<int32_t> data(n + 1, 1);
    ncclResult_t result = ncclSuccess;
    if (ctx.rank == 0) {
      result = ncclSend(data.data(), n, ncclInt32, 1, comm, nullptr);
    } else {
      result = ncclRecv(data.data(), n + 1, ncclInt32, 0, comm, nullptr);
      checkResult(result, ncclInvalidUsage, "Recv", RANK_WHERE, comm);
      RANK_MENTIONS(lastError(comm), std::to_string(n), std::to_string(n + 1));
    }
    // A small send may be gone before the receiver sees it; then the next call fails.
    const double end = nowSeconds() + 2 * kSlowdown;
    ncclResult_t state = result;
    while (state == ncclSuccess && nowSeconds() < end) RANK_OK(ncclCommGetAsyncError(comm, &state));
    RANK_EQ(state, ncclInvalidUsage);
    ctx.barrier();
    comm.abort();
  }
}

class Mismatched : public RankSuite {};

TEST_P(Mismatched, CallsAreInvalidUsageOnAllRanksAndQuoted) {
  pass("Mismatches", 2);
  pass("Mismatches", 3);
}
TEST_P(Mismatched, CallInAGroupIsInvalidUsageOnAllRanks) { pass("MismatchInAGroup", 3); }
TEST_P(Mismatched, MessageIsInvalidUsageOnBothSides) { pass("MismatchedMessage", 2); }

INSTANTIATE_TEST_SUITE_P(Ranks, Mismatched,
                         ::testing::Values(How::kThreads, How::kProcesses, How::kMixed),
                         [](const auto& info) { return howName(info.param); });

}  // namespace
}  // namespace ranktest
