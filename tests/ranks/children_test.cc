// SPDX-License-Identifier: Apache-2.0
// Communicators made from communicators: split, shrink, grow; and several roots at creation.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "support/check.h"
#include "support/rank_run.h"
#include "support/rank_suite.h"

namespace ranktest {
namespace {

// Checks rank and size, and that the members are who they should be: an AllGather of world ranks.
void checkMembers(ncclComm_t comm, int worldRank, const std::vector<int>& members) {
  int rank = -1;
  int size = -1;
  RANK_OK(ncclCommUserRank(comm, &rank));
  RANK_OK(ncclCommCount(comm, &size));
  RANK_EQ(size, static_cast<int>(members.size()));
  RANK_TRUE_MSG(rank >= 0 && rank < size, rank);
  RANK_EQ(members[rank], worldRank);
  std::vector<int> got(members.size(), -1);
  RANK_OK(ncclAllGather(&worldRank, got.data(), 1, ncclInt32, comm, nullptr));
  for (size_t i = 0; i < members.size(); ++i) RANK_EQ(got[i], members[i]);
  std::vector<int64_t> sum(5000, worldRank);
  RANK_OK(ncclAllReduce(sum.data(), sum.data(), sum.size(), ncclInt64, ncclSum, comm, nullptr));
  int64_t expected = 0;
  for (int member : members) expected += member;
  for (int64_t x : sum) RANK_EQ(x, expected);
}

std::vector<int> worldMembers(int size) {
  std::vector<int> out;
  for (int r = 0; r < size; ++r) out.push_back(r);
  return out;
}

// Colours by parity; the even ones reversed by key, the odd ones in ties (old order).
RANK_BODY(SplitByColourAndKey) {
  Comm comm = makeWorld(ctx);
  const int color = ctx.rank % 2;
  Comm child;
  RANK_OK(ncclCommSplit(comm, color, color == 0 ? -ctx.rank : 7, child.put(), nullptr));
  std::vector<int> members;
  for (int r = 0; r < ctx.size; ++r) {
    if (r % 2 != color) continue;
    members.insert(color == 0 ? members.begin() : members.end(), r);
  }
  checkMembers(child, ctx.rank, members);
  checkMembers(comm, ctx.rank, worldMembers(ctx.size));  // the parent still works
  child.destroy();
  checkMembers(comm, ctx.rank, worldMembers(ctx.size));
  comm.destroy();
}

RANK_BODY(SplitNoColour) {
  Comm comm = makeWorld(ctx);
  const bool in = ctx.rank != 1;
  ncclComm_t child = reinterpret_cast<ncclComm_t>(uintptr_t{1});
  RANK_OK(ncclCommSplit(comm, in ? 3 : NCCL_SPLIT_NOCOLOR, 0, &child, nullptr));
  RANK_EQ(child == nullptr, !in);
  if (in) {
    Comm owned(child);
    std::vector<int> members;
    for (int r = 0; r < ctx.size; ++r) {
      if (r != 1) members.push_back(r);
    }
    checkMembers(owned, ctx.rank, members);
  }
  checkMembers(comm, ctx.rank, worldMembers(ctx.size));
  comm.destroy();
}

RANK_BODY(SplitNested) {
  Comm world = makeWorld(ctx);
  const int half = ctx.rank / (ctx.size / 2);
  Comm child;
  RANK_OK(ncclCommSplit(world, half, ctx.rank, child.put(), nullptr));
  Comm grandchild;
  int childRank = -1;
  RANK_OK(ncclCommUserRank(child, &childRank));
  RANK_OK(ncclCommSplit(child, childRank % 2, -childRank, grandchild.put(), nullptr));
  // The parent may go first.
  child.destroy();
  std::vector<int> members;
  for (int r = ctx.size - 1; r >= 0; --r) {
    const int inHalf = r % (ctx.size / 2);
    if (r / (ctx.size / 2) == half && inHalf % 2 == childRank % 2) members.push_back(r);
  }
  checkMembers(grandchild, ctx.rank, members);
  world.destroy();
  checkMembers(grandchild, ctx.rank, members);
  grandchild.destroy();
}

RANK_BODY(SplitManyTimes) {
  Comm world = makeWorld(ctx);
  std::vector<Comm> children(12);
  for (int i = 0; i < 12; ++i) {
    RANK_OK(ncclCommSplit(world, 0, i % 2 == 0 ? ctx.rank : -ctx.rank, children[i].put(), nullptr));
  }
  for (int i = 0; i < 12; ++i) {
    std::vector<int> members = worldMembers(ctx.size);
    if (i % 2 == 1) std::reverse(members.begin(), members.end());
    checkMembers(children[i], ctx.rank, members);
  }
  for (Comm& child : children) child.destroy();
  world.destroy();
}

RANK_BODY(SplitBadArguments) {
  Comm world = makeWorld(ctx);
  ncclComm_t child = nullptr;
  RANK_IS(ncclCommSplit(nullptr, 0, 0, &child, nullptr), ncclInvalidArgument);
  RANK_IS(ncclCommSplit(world, 0, 0, nullptr, nullptr), ncclInvalidArgument);
  RANK_IS(ncclCommSplit(world, -2, 0, &child, nullptr), ncclInvalidArgument);
  RANK_MENTIONS(lastError(world), "-2", "NCCL_SPLIT_NOCOLOR");
  checkMembers(world, ctx.rank, worldMembers(ctx.size));
  world.destroy();
}

RANK_BODY(ShrinkHealthy) {
  Comm world = makeWorld(ctx);
  int excluded[] = {1, ctx.size - 1};
  const bool stays = ctx.rank != 1 && ctx.rank != ctx.size - 1;
  if (stays) {
    Comm child;
    RANK_OK(ncclCommShrink(world, excluded, 2, child.put(), nullptr, NCCL_SHRINK_DEFAULT));
    std::vector<int> members;
    for (int r = 0; r < ctx.size - 1; ++r) {
      if (r != 1) members.push_back(r);
    }
    checkMembers(child, ctx.rank, members);
    child.destroy();
  }
  ctx.barrier();
  checkMembers(world, ctx.rank, worldMembers(ctx.size));
  world.destroy();
}

RANK_BODY(ShrinkBadArguments) {
  Comm world = makeWorld(ctx);
  ncclComm_t child = nullptr;
  int list[] = {0, 1};
  RANK_IS(ncclCommShrink(nullptr, list, 1, &child, nullptr, 0), ncclInvalidArgument);
  RANK_IS(ncclCommShrink(world, nullptr, 1, &child, nullptr, 0), ncclInvalidArgument);
  RANK_IS(ncclCommShrink(world, list, 1, nullptr, nullptr, 0), ncclInvalidArgument);
  RANK_IS(ncclCommShrink(world, list, 0, &child, nullptr, 0), ncclInvalidArgument);
  list[0] = ctx.size;
  RANK_IS(ncclCommShrink(world, list, 1, &child, nullptr, 0), ncclInvalidArgument);
  list[0] = ctx.rank;
  RANK_IS(ncclCommShrink(world, list, 1, &child, nullptr, 0), ncclInvalidArgument);
  checkMembers(world, ctx.rank, worldMembers(ctx.size));
  world.destroy();
}

// Two ranks make a communicator, the others join it later.
RANK_BODY(Grow) {
  const int old = 2;
  Comm small;
  if (ctx.rank < old) {
    const ncclUniqueId id = ctx.id(0);
    RANK_OK(ncclCommInitRank(small.put(), old, id, ctx.rank));
    checkMembers(small, ctx.rank, worldMembers(old));
  }
  // The id of the growth travels by the board, as it would by any other means.
  constexpr int kGrowId = 5;
  if (ctx.rank == 0) {
    RANK_OK(ncclCommGetUniqueId(small, &ctx.board->ids[kGrowId]));
    setFlag(ctx.board->idReady[kGrowId], 1);
  }
  Comm large;
  if (ctx.rank < old) {
    RANK_OK(ncclCommGrow(small, ctx.size, ctx.rank == 0 ? &ctx.board->ids[kGrowId] : nullptr, -1,
                         large.put(), nullptr));
  } else {
    const ncclUniqueId id = ctx.id(kGrowId);
    RANK_OK(ncclCommGrow(nullptr, ctx.size, &id, ctx.rank, large.put(), nullptr));
  }
  checkMembers(large, ctx.rank, worldMembers(ctx.size));
  if (ctx.rank < old) {
    checkMembers(small, ctx.rank, worldMembers(old));
    small.destroy();
  }
  checkMembers(large, ctx.rank, worldMembers(ctx.size));
  large.destroy();
}

// The ranks are gathered by two roots: ids made by rank 0 and by the middle rank.
RANK_BODY(InitScalable) {
  ncclUniqueId ids[2] = {ctx.id(0, 0), ctx.id(1, ctx.size / 2)};
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  Comm comm;
  RANK_OK(ncclCommInitRankScalable(comm.put(), ctx.size, ctx.rank, 2, ids,
                                   ctx.args == "config" ? &config : nullptr));
  checkMembers(comm, ctx.rank, worldMembers(ctx.size));
  comm.destroy();
}

class Children : public RankSuite {};

TEST_P(Children, SplitOrdersByKeyThenByOldRank) {
  for (int size : {1, 2, 5}) pass("SplitByColourAndKey", size);
}
TEST_P(Children, SplitWithoutColourGivesNoChild) { pass("SplitNoColour", 4); }
TEST_P(Children, SplitOfASplitOutlivesItsParents) { pass("SplitNested", 4); }
TEST_P(Children, ManySplitsLiveSideBySide) { pass("SplitManyTimes", 3); }
TEST_P(Children, SplitRefusesBadArgumentsAndTheParentLivesOn) { pass("SplitBadArguments", 2); }
TEST_P(Children, ShrinkOfAHealthyParentKeepsTheOrder) {
  for (int size : {3, 5}) pass("ShrinkHealthy", size);
}
TEST_P(Children, ShrinkRefusesBadArgumentsAndTheParentLivesOn) { pass("ShrinkBadArguments", 3); }
TEST_P(Children, GrowAddsRanksBehindTheOldOnes) {
  for (int size : {3, 4}) pass("Grow", size);
}
TEST_P(Children, SeveralIdsMakeOneCommunicator) {
  pass("InitScalable", 4);
  pass("InitScalable", 3, "config");
}

INSTANTIATE_TEST_SUITE_P(Ranks, Children,
                         ::testing::Values(How::kThreads, How::kProcesses, How::kMixed),
                         [](const auto& info) { return howName(info.param); });

}  // namespace
}  // namespace ranktest
