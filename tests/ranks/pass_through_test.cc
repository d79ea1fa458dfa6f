// SPDX-License-Identifier: Apache-2.0
// Calls that pass through to the vendor's library, for which a second copy of this one stands in:
// the program holds the copy's communicators, and gets what the copy gives.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/collective_case.h"
#include "support/rank_run.h"
#include "support/sanitized.h"
#include "unit/probe_support.h"

namespace ranktest {
namespace {

using flexlink::probetest::Reader;

RunOptions passing(int size, How how = How::kProcesses) {
  RunOptions o;
  o.size = size;
  o.how = how;
  o.env = {"FLEXLINK_PASS_THROUGH=1", "FLEXLINK_NCCL_PATH=" FLEXLINK_SECOND_COPY};
  return o;
}

// A function of the vendor, past ours. It is open already.
template <typename Function>
Function* vendors(Function*, const char* name) {
  void* library = dlopen(FLEXLINK_SECOND_COPY, RTLD_NOW | RTLD_NOLOAD);
  RANK_TRUE(library != nullptr);
  return reinterpret_cast<Function*>(dlsym(library, name));
}
#define VENDORS(name) vendors(&name, #name)

// What the probe of this process says of a communicator by its name; null: nothing.
const FlexlinkProbeSlot* seen(const Reader& reader, int rank, const std::string& name) {
  for (int i = 0; i < static_cast<int>(FLEXLINK_PROBE_SLOTS); ++i) {
    const FlexlinkProbeSlot& slot = reader.slot(i);
    const auto itsRank = static_cast<uint32_t>(Reader::load(slot.comm.rankAndRanks));
    if (name == slot.comm.name && itsRank == static_cast<uint32_t>(rank)) return &slot;
  }
  return nullptr;
}

uint64_t vendorOperations(const FlexlinkProbeSlot* slot) {
  return Reader::load(slot->lanes[FLEXLINK_PROBE_LANE_VENDOR].operations);
}

RANK_BODY(HandlesAreTheVendors) {
  Comm comm = makeWorld(ctx);
  int rank = -1, count = -1;
  RANK_OK(VENDORS(ncclCommUserRank)(comm, &rank));
  RANK_OK(VENDORS(ncclCommCount)(comm, &count));
  RANK_EQ(rank, ctx.rank);
  RANK_EQ(count, ctx.size);
  Stream stream;  // the vendor's as well
  std::vector<int32_t> data(1000, ctx.rank);
  RANK_OK(VENDORS(ncclAllReduce)(data.data(), data.data(), data.size(), ncclInt32, ncclSum, comm,
                                 stream));
  RANK_OK(VENDORS(flexlinkStreamSynchronize)(stream));
  RANK_EQ(data[999], ctx.size * (ctx.size - 1) / 2);
  comm.destroy();
}

ncclConfig_t named(const char* name, int blocking = 1) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.commName = name;
  config.blocking = blocking;
  return config;
}

RANK_BODY(ProbeShowsWhatIsPassed) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  ncclConfig_t config = named("passed");
  Comm comm;
  RANK_OK(ncclCommInitRankConfig(comm.put(), ctx.size, ctx.id(), ctx.rank, &config));
  const FlexlinkProbeSlot* slot = seen(reader, ctx.rank, "passed");
  RANK_TRUE(slot != nullptr);
  RANK_EQ(Reader::load(slot->comm.rankAndRanks) >> 32, static_cast<uint64_t>(ctx.size));
  ctx.publish(Reader::load(slot->comm.id));
  std::vector<int32_t> data(250, ctx.rank);
  for (int round = 0; round < 3; ++round) {
    RANK_OK(ncclAllReduce(data.data(), data.data(), 250, ncclInt32, ncclMax, comm, nullptr));
  }
  RANK_EQ(vendorOperations(slot), uint64_t{3});
  RANK_EQ(Reader::load(slot->lanes[FLEXLINK_PROBE_LANE_VENDOR].totalBytes), uint64_t{3000});
  RANK_EQ(Reader::load(slot->comm.entered), uint64_t{3});

  ncclConfig_t half = named("half");
  Comm child;
  RANK_OK(ncclCommSplit(comm, ctx.rank % 2, 0, child.put(), &half));
  const FlexlinkProbeSlot* childSlot = seen(reader, ctx.rank / 2, "half");
  RANK_TRUE(childSlot != nullptr);
  RANK_EQ(Reader::load(childSlot->comm.parent), Reader::load(slot->comm.id));
  ctx.publish(Reader::load(childSlot->comm.id));
  RANK_EQ(Reader::load(slot->comm.state), uint64_t{FLEXLINK_PROBE_STATE_READY});
  RANK_OK(ncclCommFinalize(child));
  RANK_EQ(Reader::load(childSlot->comm.state), uint64_t{FLEXLINK_PROBE_STATE_FINALIZING});
  child.destroy();
  RANK_EQ(Reader::load(childSlot->comm.state), uint64_t{FLEXLINK_PROBE_STATE_CLOSED});
  comm.abort();
  RANK_EQ(Reader::load(slot->comm.state), uint64_t{FLEXLINK_PROBE_STATE_ABORTED});
}

// A new communicator may lie where an old one did: it is another one all the same.
RANK_BODY(AddressesAreUsedAgain) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  for (int round = 0; round < 50; ++round) {  // the copy uses an address again after 32 others
    ncclConfig_t config = named("again");
    ncclUniqueId id;
    RANK_OK(ncclGetUniqueId(&id));
    Comm comm;
    RANK_OK(ncclCommInitRankConfig(comm.put(), 1, id, 0, &config));
    int32_t x = 1;
    RANK_OK(ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, comm, nullptr));
    comm.destroy();
  }
  uint64_t closed = 0;
  for (int i = 0; i < static_cast<int>(FLEXLINK_PROBE_SLOTS); ++i) {
    const FlexlinkProbeSlot& slot = reader.slot(i);
    if (std::string("again") != slot.comm.name) continue;
    RANK_EQ(Reader::load(slot.comm.state), uint64_t{FLEXLINK_PROBE_STATE_CLOSED});
    RANK_EQ(vendorOperations(&slot), uint64_t{1});
    ++closed;
  }
  RANK_EQ(closed, uint64_t{50});
}

// Nobody answers rank 0's call; another thread ends it.
RANK_BODY(AbortEndsACallInTheVendor) {
  Comm comm = makeWorld(ctx);
  if (ctx.rank == 0) {
    ncclComm_t handle = comm.release();
    std::thread aborting([&] {
      usleep(300'000);
      (void)ncclCommAbort(handle);
    });
    int32_t x = 1;
    ncclResult_t result = ncclAllReduce(&x, &x, 1, ncclInt32, ncclSum, handle, nullptr);
    aborting.join();
    RANK_TRUE_MSG(result != ncclSuccess, resultName(result));
    ctx.set(0);
  } else {
    ctx.wait(0);
    comm.abort();
  }
}

RANK_BODY(ErrorsAreTheVendors) {
  Comm comm = makeWorld(ctx);
  int32_t x = 0;
  RANK_IS(ncclAllReduce(&x, nullptr, 1, ncclInt32, ncclSum, comm, nullptr), ncclInvalidArgument);
  RANK_MENTIONS(lastError(comm), "recvbuff");
  RANK_EQ(lastError(comm), std::string(VENDORS(ncclGetLastError)(comm)));
  RANK_IS(ncclGroupEnd(), ncclInvalidUsage);
  RANK_MENTIONS(lastError(comm), "not in a group call");
  comm.destroy();
}

// Both ranks in one process: the records of two communicators are made in one group.
RANK_BODY(CommunicatorsOfAGroupAreSeen) {
  const Reader reader(flexlink::ProbeWriter::process()->path());
  ncclUniqueId id;
  RANK_OK(ncclGetUniqueId(&id));
  ncclConfig_t config = named("grouped");
  Comm comms[2];
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclGroupStart());
  for (int rank = 0; rank < 2; ++rank) {
    RANK_OK(ncclCommInitRankConfig(comms[rank].put(), 2, id, rank, &config));
  }
  RANK_OK(ncclGroupEnd());
  RANK_TRUE(seen(reader, 0, "grouped") == nullptr);
  RANK_OK(ncclGroupEnd());
  int32_t data[2] = {1, 2};
  RANK_OK(ncclGroupStart());
  for (int rank = 0; rank < 2; ++rank) {
    RANK_OK(ncclAllReduce(&data[rank], &data[rank], 1, ncclInt32, ncclSum, comms[rank], nullptr));
  }
  RANK_OK(ncclGroupEnd());
  RANK_EQ(data[1], 3);
  for (int rank = 0; rank < 2; ++rank) {
    RANK_TRUE(seen(reader, rank, "grouped") != nullptr);
    RANK_EQ(vendorOperations(seen(reader, rank, "grouped")), uint64_t{1});
  }
}

TEST(PassThrough, HandlesAreThoseOfTheVendor) {
  expectRanksPass("HandlesAreTheVendors", passing(2));
  expectRanksPass("HandlesAreTheVendors", passing(3, How::kThreads));
}

TEST(PassThrough, TheProbeShowsCommunicatorsAndTheirCalls) {
  const Outcome out = expectRanksPass("ProbeShowsWhatIsPassed", passing(4, How::kMixed));
  ASSERT_TRUE(out.ok());
  for (int rank = 1; rank < 4; ++rank) EXPECT_EQ(out.values[rank][0], out.values[0][0]);
  EXPECT_EQ(out.values[0][1], out.values[2][1]);
  EXPECT_EQ(out.values[1][1], out.values[3][1]);
  EXPECT_NE(out.values[0][1], out.values[1][1]);
}

TEST(PassThrough, AnAddressThatIsUsedAgainIsAnotherCommunicator) {
  expectRanksPass("AddressesAreUsedAgain", passing(1));
}

TEST(PassThrough, AbortFromAnotherThreadEndsACall) {
  expectRanksPass("AbortEndsACallInTheVendor", passing(2));
}

TEST(PassThrough, ErrorTextsAreThoseOfTheVendor) {
  expectRanksPass("ErrorsAreTheVendors", passing(2));
}

TEST(PassThrough, CommunicatorsOfAGroupAreSeenAtItsEnd) {
  expectRanksPass("CommunicatorsOfAGroupAreSeen", passing(1));
}

// Bodies that know nothing of it.
TEST(PassThrough, ProgramsRunAsOnTheVendor) {
  for (const char* body : {"NonBlocking", "SplitByColourAndKey", "SplitNoColour", "ShrinkHealthy",
                           "Grow", "MixedGroup", "InitAllInOneThread",
                           "OperatorDiesBeforeTheWorkRuns", "PutToAll", "StreamWaitsForStream"}) {
    SCOPED_TRACE(body);
    expectRanksPass(body, passing(4, How::kMixed));
  }
  RunOptions cases = passing(2);
  cases.args = std::to_string(testSeed()) + " 50000000 " + std::to_string(inReach(40)) + " 65536";
  expectRanksPass("RandomCases", cases);
}

TEST(PassThrough, WithoutAVendorNoCommunicatorIsMadeAndTheTextSaysWhy) {
  RunOptions o = passing(1);
  o.env[1] = "FLEXLINK_NCCL_PATH=/none/libnccl.so.2";
  RankRun run("HandlesAreTheVendors", o);
  run.start();
  const Outcome out = run.finish();
  EXPECT_FALSE(out.ok());
  EXPECT_NE(out.report().find("FLEXLINK_PASS_THROUGH=1, but"), std::string::npos) << out.report();
  EXPECT_NE(out.report().find("/none/libnccl.so.2"), std::string::npos) << out.report();
}

}  // namespace
}  // namespace ranktest
