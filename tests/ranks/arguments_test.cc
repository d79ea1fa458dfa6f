// SPDX-License-Identifier: Apache-2.0
// Bad arguments are refused by the call itself, with a text that says which one, and change
// nothing.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/rank_run.h"
#include "support/rank_suite.h"

namespace ranktest {
namespace {

struct BadCall {
  const char* text;
  const char* mention;
  std::function<ncclResult_t()> call;
};

void checkBadCalls(const std::vector<BadCall>& calls, ncclComm_t comm) {
  for (const BadCall& bad : calls) {
    checkResult(bad.call(), ncclInvalidArgument, bad.text, RANK_WHERE, comm);
    checkMentions(lastError(comm), {bad.mention}, bad.text);
  }
}

RANK_BODY(BadCollectives) {
  Comm comm = makeWorld(ctx);
  std::vector<int32_t> a(8, 1);
  std::vector<int32_t> b(8 * static_cast<size_t>(ctx.size), -1);
  const int n = ctx.size;
  const auto badType = static_cast<ncclDataType_t>(12);
  const auto negativeType = static_cast<ncclDataType_t>(-1);
  const auto badOp = static_cast<ncclRedOp_t>(4711);
  void* s = a.data();
  void* r = b.data();
  const ncclComm_t c = comm;
  constexpr auto kInt = ncclInt32;
  checkBadCalls(
      {{"AllReduce NULL send", "send buffer",
        [=] { return ncclAllReduce(nullptr, r, 8, kInt, ncclSum, c, nullptr); }},
       {"AllReduce NULL recv", "receive buffer",
        [=] { return ncclAllReduce(s, nullptr, 8, kInt, ncclSum, c, nullptr); }},
       {"AllReduce type 12", "type",
        [=] { return ncclAllReduce(s, r, 8, badType, ncclSum, c, nullptr); }},
       {"AllReduce type -1", "type",
        [=] { return ncclAllReduce(s, r, 8, negativeType, ncclSum, c, nullptr); }},
       {"AllReduce unknown op", "op",
        [=] { return ncclAllReduce(s, r, 8, kInt, badOp, c, nullptr); }},
       {"AllReduce op -1", "op",
        [=] { return ncclAllReduce(s, r, 8, kInt, static_cast<ncclRedOp_t>(-1), c, nullptr); }},
       {"Reduce root n", "root", [=] { return ncclReduce(s, r, 8, kInt, ncclSum, n, c, nullptr); }},
       {"Reduce root -1", "root",
        [=] { return ncclReduce(s, r, 8, kInt, ncclSum, -1, c, nullptr); }},
       {"Broadcast root n", "root", [=] { return ncclBroadcast(s, r, 8, kInt, n, c, nullptr); }},
       {"Bcast root -1", "root", [=] { return ncclBcast(r, 8, kInt, -1, c, nullptr); }},
       {"Bcast NULL", "buffer", [=] { return ncclBcast(nullptr, 8, kInt, 0, c, nullptr); }},
       {"AllGather NULL recv", "receive buffer",
        [=] { return ncclAllGather(s, nullptr, 8, kInt, c, nullptr); }},
       {"ReduceScatter NULL send", "send buffer",
        [=] { return ncclReduceScatter(nullptr, r, 1, kInt, ncclSum, c, nullptr); }},
       {"AlltoAll NULL send", "send buffer",
        [=] { return ncclAlltoAll(nullptr, r, 1, kInt, c, nullptr); }},
       {"Gather root n", "root", [=] { return ncclGather(s, r, 1, kInt, n, c, nullptr); }},
       {"Scatter root n", "root", [=] { return ncclScatter(s, r, 1, kInt, n, c, nullptr); }},
       {"Send peer n", "peer", [=] { return ncclSend(s, 8, kInt, n, c, nullptr); }},
       {"Send peer -1", "peer", [=] { return ncclSend(s, 8, kInt, -1, c, nullptr); }},
       {"Send NULL", "send buffer", [=] { return ncclSend(nullptr, 8, kInt, 0, c, nullptr); }},
       {"Recv peer n", "peer", [=] { return ncclRecv(r, 8, kInt, n, c, nullptr); }},
       {"Recv NULL", "receive buffer", [=] { return ncclRecv(nullptr, 8, kInt, 0, c, nullptr); }},
       {"count that overflows", "elements",
        [=] { return ncclAllReduce(s, r, SIZE_MAX / 2, kInt, ncclSum, c, nullptr); }},
       {"AllGather that overflows", "elements",
        [=] { return ncclAllGather(s, r, SIZE_MAX / 4 - 1, kInt, c, nullptr); }}},
      comm);
  for (int32_t x : b) RANK_EQ(x, -1);
  // Nothing of this hurt the communicator.
  RANK_OK(ncclAllReduce(s, r, 8, kInt, ncclSum, comm, nullptr));
  for (int i = 0; i < 8; ++i) RANK_EQ(b[i], n);
  comm.destroy();
}

RANK_BODY(BadCommunicators) {
  int32_t x = 1;
  int value = 77;
  RANK_IS(ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, nullptr, nullptr), ncclInvalidArgument);
  RANK_MENTIONS(lastError(nullptr), "comm");
  RANK_IS(ncclCommCount(nullptr, &value), ncclInvalidArgument);
  RANK_IS(ncclCommUserRank(nullptr, &value), ncclInvalidArgument);
  RANK_IS(ncclCommCuDevice(nullptr, &value), ncclInvalidArgument);
  RANK_EQ(value, 77);
  ncclResult_t state = ncclTimeout;
  RANK_IS(ncclCommGetAsyncError(nullptr, &state), ncclInvalidArgument);
  RANK_EQ(state, ncclTimeout);
  RANK_OK(ncclCommDestroy(nullptr));
  RANK_OK(ncclCommAbort(nullptr));
  RANK_OK(ncclCommFinalize(nullptr));
  // Memory that is no communicator.
  std::vector<uint64_t> zeros(512);
  const auto fake = reinterpret_cast<ncclComm_t>(zeros.data());
  RANK_IS(ncclCommCount(fake, &value), ncclInvalidArgument);
  RANK_IS(ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, fake, nullptr), ncclInvalidArgument);
  RANK_IS(ncclCommDestroy(fake), ncclInvalidArgument);
  // A communicator that is gone.
  Comm comm = makeWorld(ctx);
  const ncclComm_t stale = comm;
  comm.destroy();
  RANK_IS(ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, stale, nullptr), ncclInvalidArgument);
  RANK_IS(ncclCommCount(stale, &value), ncclInvalidArgument);
  RANK_IS(ncclCommDestroy(stale), ncclInvalidArgument);
  RANK_EQ(value, 77);
}

RANK_BODY(BadInit) {
  const ncclUniqueId id = ctx.id(0);
  ncclComm_t comm = nullptr;
  RANK_IS(ncclGetUniqueId(nullptr), ncclInvalidArgument);
  RANK_IS(ncclCommInitRank(nullptr, 1, id, 0), ncclInvalidArgument);
  RANK_IS(ncclCommInitRank(&comm, 0, id, 0), ncclInvalidArgument);
  RANK_IS(ncclCommInitRank(&comm, -3, id, 0), ncclInvalidArgument);
  RANK_IS(ncclCommInitRank(&comm, 2, id, 2), ncclInvalidArgument);
  RANK_MENTIONS(lastError(nullptr), "rank");
  RANK_IS(ncclCommInitRank(&comm, 2, id, -1), ncclInvalidArgument);
  RANK_IS(ncclCommInitAll(nullptr, 2, nullptr), ncclInvalidArgument);
  RANK_IS(ncclCommInitAll(&comm, 0, nullptr), ncclInvalidArgument);
  RANK_IS(ncclGetVersion(nullptr), ncclInvalidArgument);
  // An id that nobody made: all zero, and noise.
  ncclUniqueId noise;
  memset(&noise, 0, sizeof(noise));
  RANK_IS(ncclCommInitRank(&comm, 2, noise, 0), ncclInvalidArgument);
  memset(&noise, 0xc3, sizeof(noise));
  RANK_IS(ncclCommInitRank(&comm, 2, noise, 0), ncclInvalidArgument);
  RANK_MENTIONS(lastError(nullptr), "ncclGetUniqueId");
  RANK_TRUE(comm == nullptr);
}

RANK_BODY(BadStreams) {
  Comm comm = makeWorld(ctx);
  int32_t x = 1;
  uint64_t noise[64] = {};
  const auto fake = reinterpret_cast<cudaStream_t>(noise);
  RANK_IS(ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, comm, fake), ncclInvalidArgument);
  RANK_MENTIONS(lastError(comm), "stream");
  // CUDA's legacy and per-thread default streams are no host streams.
  for (uintptr_t handle : {uintptr_t{1}, uintptr_t{2}}) {
    RANK_IS(
        ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, comm, reinterpret_cast<cudaStream_t>(handle)),
        ncclInvalidArgument);
  }
  RANK_IS(flexlinkStreamSynchronize(fake), ncclInvalidArgument);
  RANK_IS(flexlinkStreamCreate(nullptr), ncclInvalidArgument);
  cudaStream_t stream = nullptr;
  RANK_OK(flexlinkStreamCreate(&stream));
  RANK_OK(ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, comm, stream));
  RANK_OK(flexlinkStreamDestroy(stream));
  RANK_EQ(x, ctx.size);
  RANK_IS(ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, comm, stream), ncclInvalidArgument);
  comm.destroy();
}

// An operation of another communicator, and one whose type differs from the call's.
RANK_BODY(BadOperators) {
  Comm a = makeWorld(ctx, 0);
  Comm b = makeWorld(ctx, 1);
  ncclRedOp_t op{};
  float scalar = 2;
  RANK_IS(ncclRedOpCreatePreMulSum(nullptr, &scalar, ncclFloat32, ncclScalarHostImmediate, a),
          ncclInvalidArgument);
  RANK_IS(ncclRedOpCreatePreMulSum(&op, nullptr, ncclFloat32, ncclScalarHostImmediate, a),
          ncclInvalidArgument);
  RANK_IS(ncclRedOpCreatePreMulSum(&op, &scalar, static_cast<ncclDataType_t>(12),
                                   ncclScalarHostImmediate, a),
          ncclInvalidArgument);
  RANK_IS(
      ncclRedOpCreatePreMulSum(&op, &scalar, ncclFloat32, static_cast<ncclScalarResidence_t>(9), a),
      ncclInvalidArgument);
  RANK_IS(ncclRedOpCreatePreMulSum(&op, &scalar, ncclFloat32, ncclScalarHostImmediate, nullptr),
          ncclInvalidArgument);
  RANK_OK(ncclRedOpCreatePreMulSum(&op, &scalar, ncclFloat32, ncclScalarHostImmediate, a));
  RANK_TRUE_MSG(op >= ncclNumOps, op);
  float x = 1;
  double y = 1;
  RANK_IS(ncclAllReduce(&x, &x, 1, ncclFloat32, op, b, nullptr), ncclInvalidArgument);
  RANK_IS(ncclAllReduce(&y, &y, 1, ncclFloat64, op, a, nullptr), ncclInvalidArgument);
  RANK_IS(ncclRedOpDestroy(op, b), ncclInvalidArgument);
  RANK_IS(ncclRedOpDestroy(ncclSum, a), ncclInvalidArgument);
  RANK_OK(ncclRedOpDestroy(op, a));
  RANK_IS(ncclRedOpDestroy(op, a), ncclInvalidArgument);
  RANK_IS(ncclAllReduce(&x, &x, 1, ncclFloat32, op, a, nullptr), ncclInvalidArgument);
  a.destroy();
  b.destroy();
}

class BadArguments : public RankSuite {};

TEST_P(BadArguments, OfCollectivesAreNamedAndChangeNothing) { pass("BadCollectives", 2); }
TEST_P(BadArguments, NoCommunicatorAndDeadOnesAreRefused) { pass("BadCommunicators", 2); }
TEST_P(BadArguments, OfInitAreRefusedAtOnce) { pass("BadInit", 1); }
TEST_P(BadArguments, ForeignStreamsAreRefused) { pass("BadStreams", 2); }
TEST_P(BadArguments, OperatorsOfOtherCommunicatorsAndTypesAreRefused) { pass("BadOperators", 2); }

INSTANTIATE_TEST_SUITE_P(Ranks, BadArguments, ::testing::Values(How::kThreads, How::kProcesses),
                         [](const auto& info) { return howName(info.param); });

}  // namespace
}  // namespace ranktest
