// SPDX-License-Identifier: Apache-2.0
// flexlinkFunctionOn: communicators on host memory and on a GPU, which is a thread here, side by
// side in one process.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <vector>

#include "flexlink/flexlink.h"
#include "ranks/side_support.h"

namespace ranktest {
namespace {

#define ON(device, name) reinterpret_cast<decltype(&name)>(flexlinkFunctionOn(device, #name))

Comm makeOn(flexlinkDevice_t device, RankContext& ctx, int idNumber) {
  Comm comm;
  RANK_OK(ON(device, ncclCommInitRank)(comm.put(), ctx.size, ctx.id(idNumber), ctx.rank));
  return comm;
}

void leave(flexlinkDevice_t device, Comm* comm) {
  RANK_OK(ON(device, ncclCommDestroy)(comm->release()));
}

// Work on both is under way at once, and each needs its own kind of memory.
void reduceOnBoth(RankContext& ctx, ncclComm_t onHost, ncclComm_t onGpu) {
  constexpr size_t kCount = 200'000;
  const int32_t sum = ctx.size * (ctx.size + 1) / 2;
  cudaStream_t hostStream = nullptr;
  RANK_OK(ON(flexlinkHost, flexlinkStreamCreate)(&hostStream));
  Stream stream;
  for (int round = 0; round < 20; ++round) {
    std::vector<int32_t> plain(kCount, ctx.rank + 1);
    Numbers gpu(kCount, 10 * (ctx.rank + 1));
    RANK_OK(ON(flexlinkHost, ncclGroupStart)());
    RANK_OK(ON(flexlinkHost, ncclAllReduce)(plain.data(), plain.data(), kCount, ncclInt32, ncclSum,
                                            onHost, hostStream));
    RANK_OK(ON(flexlinkHost, ncclGroupEnd)());
    RANK_OK(ON(flexlinkCuda, ncclAllReduce)(gpu.at(), gpu.at(), kCount, ncclInt32, ncclSum, onGpu,
                                            stream));
    if (round % 2 == 0) stream.sync();
    RANK_OK(ON(flexlinkHost, flexlinkStreamSynchronize)(hostStream));
    stream.sync();
    for (int32_t each : plain) RANK_EQ(each, sum);
    gpu.checkAll(10 * sum);
  }
  RANK_OK(ON(flexlinkHost, flexlinkStreamDestroy)(hostStream));
}

void useBoth(RankContext& ctx) {
  Comm onHost = makeOn(flexlinkHost, ctx, 0);
  Comm onGpu = makeOn(flexlinkCuda, ctx, 1);
  reduceOnBoth(ctx, onHost, onGpu);
  ncclComm_t child = nullptr;  // on its parent's device
  RANK_OK(ON(flexlinkHost, ncclCommSplit)(onHost, 0, ctx.rank, &child, nullptr));
  Comm second(child);
  reduceOnBoth(ctx, second, onGpu);
  leave(flexlinkHost, &second);
  leave(flexlinkHost, &onHost);
  leave(flexlinkCuda, &onGpu);
}

RANK_BODY(BothDevices) { useBoth(ctx); }

RANK_BODY(MemoryOfBothDevices) {
  void *plain = nullptr, *gpu = nullptr;
  RANK_OK(ON(flexlinkHost, ncclMemAlloc)(&plain, 4096));
  RANK_OK(ON(flexlinkCuda, ncclMemAlloc)(&gpu, 4096));
  memset(plain, 7, 4096);  // of a GPU it would end the process
  std::vector<char> back(4096, 0);
  Gpu::use()->copy(gpu, plain, 4096);
  Gpu::use()->copy(back.data(), gpu, 4096);
  RANK_EQ(back[4095], char{7});
  cudaStream_t none = nullptr;
  RANK_IS(ON(flexlinkCuda, flexlinkStreamCreate)(&none), ncclInvalidUsage);
  RANK_OK(ON(flexlinkCuda, ncclMemFree)(gpu));
  RANK_OK(ON(flexlinkHost, ncclMemFree)(plain));
}

// The process is on host memory, or on nothing in particular, unless a call says otherwise. The
// test's own buffers are a GPU's all the same.
RANK_BODY(DeviceByTheCall) {
  setenv("FLEXLINK_DEVICE", ctx.args.c_str(), 1);
  int version = 0;
  RANK_OK(ncclGetVersion(&version));  // reads the settings
  setenv("FLEXLINK_DEVICE", "cuda", 1);
  if (ctx.args != "host") return useBoth(ctx);
  ncclComm_t comm = nullptr;
  ncclUniqueId id;
  RANK_OK(ON(flexlinkHost, ncclGetUniqueId)(&id));
  RANK_IS(ON(flexlinkCuda, ncclCommInitRank)(&comm, 1, id, 0), ncclInvalidUsage);
  RANK_MENTIONS(ON(flexlinkCuda, ncclGetLastError)(nullptr), "on a GPU", "FLEXLINK_DEVICE=host");
  RANK_OK(ON(flexlinkHost, ncclCommInitRank)(&comm, 1, id, 0));
  RANK_OK(ON(flexlinkHost, ncclCommDestroy)(comm));
}

RunOptions onBoth(int size, How how) {
  RunOptions o;
  o.size = size;
  o.how = how;
  o.env = gpuEnv();
  return o;
}

TEST(Devices, CommunicatorsOnBothLiveSideBySide) {
  expectRanksPass("BothDevices", onBoth(3, How::kProcesses));
  expectRanksPass("BothDevices", onBoth(2, How::kThreads));
}

TEST(Devices, MemoryIsWhereTheFunctionSays) {
  expectRanksPass("MemoryOfBothDevices", onBoth(1, How::kThreads));
}

TEST(Devices, ACallSaysWhereTheProcessDoesNot) {
  RunOptions o = onBoth(2, How::kProcesses);
  o.args = "";
  expectRanksPass("DeviceByTheCall", o);
  o.args = "host";
  expectRanksPass("DeviceByTheCall", o);
}

// Each library's text is asked for by its own functions or by the plain ones.
RANK_BODY(TextsOfHostMemoryWhereCallsPassThrough) {
  Comm onHost = makeOn(flexlinkHost, ctx, 0);
  RANK_IS(ON(flexlinkHost, ncclAllReduce)(nullptr, nullptr, 1, ncclInt32, ncclSum, onHost, nullptr),
          ncclInvalidArgument);
  RANK_MENTIONS(ON(flexlinkHost, ncclGetLastError)(nullptr), "is NULL");
  RANK_MENTIONS(ncclGetLastError(nullptr), "is NULL");
  leave(flexlinkHost, &onHost);
}

// The second copy, which stands in for the vendor, takes memory of GPUs only.
TEST(Devices, HostMemoryStaysOursWhereCallsPassThrough) {
  RunOptions o = beside(2, How::kProcesses, "vendor");
  const std::vector<std::string> gpu = gpuEnv();
  o.env.insert(o.env.begin(), gpu.begin(), gpu.end());
  expectRanksPass("BothDevices", o);
  expectRanksPass("TextsOfHostMemoryWhereCallsPassThrough", o);
}

TEST(Devices, ThereAreTwoOfEveryFunction) {
  EXPECT_EQ(flexlinkFunctionOn(flexlinkHost, "ncclNothing"), nullptr);
  EXPECT_EQ(flexlinkFunctionOn(flexlinkHost, nullptr), nullptr);
  EXPECT_EQ(flexlinkFunctionOn(static_cast<flexlinkDevice_t>(7), "ncclAllReduce"), nullptr);
  const flexlinkFunction_t host = flexlinkFunctionOn(flexlinkHost, "ncclAllReduce");
  const flexlinkFunction_t gpu = flexlinkFunctionOn(flexlinkCuda, "ncclAllReduce");
  EXPECT_TRUE(host != nullptr && gpu != nullptr && host != gpu);
}

}  // namespace
}  // namespace ranktest
