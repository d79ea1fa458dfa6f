// SPDX-License-Identifier: Apache-2.0
// Unique ids, creation of communicators from nothing or from others.
#include <string.h>

#include <algorithm>
#include <set>

#include "api/config.h"
#include "api/device_choice.h"
#include "api/export.h"
#include "api/group.h"
#include "api/handles.h"
#include "base/clock.h"
#include "base/interfaces.h"
#include "base/settings.h"
#include "comm/copies.h"
#include "comm/creation.h"
#include "comm/promised_door.h"
#include "comm/unique_id.h"
#include "device/cuda/devices.h"

namespace flexlink {
namespace {

// Tells meetings of one cookie apart, and from those that have keys of their own (rendezvous.h).
enum MeetingKind : uint64_t { kWorld = 0, kSplit = 1, kShrink = 2, kGrow = 3 };

uint64_t meetingKey(MeetingKind kind, uint64_t ordinal) {
  return (kind | ordinal << 2) & (UINT64_MAX >> 1);
}

Status makeUniqueId(ncclUniqueId* out) {
  if (out == nullptr) return makeStatus(Code::kInvalidArgument, "ncclGetUniqueId(NULL)");
  if (inForkedChild()) return makeStatus(Code::kInvalidUsage, "ncclGetUniqueId in a forked child");
  guardAgainstFork();
  UniqueId id;
  if (!settings().commId.empty()) {
    FLEXLINK_TRY_ASSIGN(id, promisedId());
  } else {
    FLEXLINK_TRY_ASSIGN(id.address, myDoor());
    id.cookie = randomCookie();
    admitCookie(id.cookie);
  }
  *out = packUniqueId(id);
  return {};
}

struct InitArguments {
  ncclComm_t* comm;
  int ranks;
  int rank;
  ncclConfig_t* config;
  int device = -1;  // the one that the thread has chosen
  MeetingKind kind = kWorld;
  uint64_t parentHash = 0;
};

Status beginCreation(ncclComm_t* handle, CreationPlan plan) {
  FLEXLINK_TRY(mayCreate());
  allocateStaging(&plan);
  ncclComm* shell = newShell();
  FLEXLINK_TRY(startCreation(shell, std::move(plan)));
  *handle = shell;
  return issueCreation(shell, handle);
}

// In own mode buffers are host memory unless the user says otherwise.
Status chooseDevice(int asked, CreationPlan* plan) {
  plan->device = std::max(asked, 0);
  if (!makesOnGpu()) return {};
  FLEXLINK_TRY_ASSIGN(plan->gpu, cudaDevice(asked));
  plan->device = plan->gpu->ordinal();
  return {};
}

Status initRank(const InitArguments& in, const ncclUniqueId& packed) {
  if (in.comm == nullptr)
    return makeStatus(Code::kInvalidArgument, "the place for the communicator is NULL");
  *in.comm = nullptr;
  if (inForkedChild()) return makeStatus(Code::kInvalidUsage, "a communicator in a forked child");
  if (in.ranks < 1 || in.rank < 0 || in.rank >= in.ranks) {
    return makeStatus(Code::kInvalidArgument, "rank %d of %d ranks does not exist", in.rank,
                      in.ranks);
  }
  CreationPlan plan;
  plan.config = defaultConfig();
  FLEXLINK_TRY(readConfig(in.config, &plan.config));
  FLEXLINK_TRY_ASSIGN(UniqueId id, unpackUniqueId(packed));
  bool promised = in.kind == kWorld && !settings().commId.empty() &&
                  id.cookie == cookieFromSecret(settings().secret, settings().commId);
  if (promised && in.rank == 0) FLEXLINK_TRY(openPromisedDoor(id));
  plan.meeting.address = id.address;
  plan.meeting.mayOpenLate = promised;
  plan.meeting.cookie = id.cookie;
  plan.meeting.key = meetingKey(in.kind, 0);
  plan.meeting.size = static_cast<uint32_t>(in.ranks);
  plan.meeting.index = static_cast<uint32_t>(in.rank);
  FLEXLINK_TRY(chooseDevice(in.device, &plan));
  plan.parentHash = in.parentHash;
  return beginCreation(in.comm, std::move(plan));
}

// A meeting of ranks of `parent` at the door of its rank `leader`.
Result<CreationPlan> planFromParent(Communicator& parent, int leader, ncclConfig_t* config) {
  CreationPlan plan;
  plan.config = parent.config();
  plan.config.name.clear();
  FLEXLINK_TRY(readConfig(config, &plan.config));
  FLEXLINK_TRY_ASSIGN(plan.meeting.address, SocketAddress::fromBytes(parent.card(leader).door));
  plan.meeting.cookie = parent.cookie();
  plan.parentHash = parent.hash();
  plan.device = parent.device();
  plan.gpu = parent.gpu();
  return plan;
}

Status split(ncclComm_t comm, int color, int key, ncclComm_t* out, ncclConfig_t* config) {
  if (out == nullptr) return makeStatus(Code::kInvalidArgument, "ncclCommSplit: newcomm is NULL");
  *out = nullptr;
  if (color < 0 && color != NCCL_SPLIT_NOCOLOR) {
    return makeStatus(Code::kInvalidArgument,
                      "ncclCommSplit: color %d is negative and not "
                      "NCCL_SPLIT_NOCOLOR",
                      color);
  }
  CreationPlan plan;
  FLEXLINK_TRY(withCommunicator(comm, [&](Communicator& parent) -> Status {
    if (!parent.revoked()) FLEXLINK_TRY(parent.usable());
    FLEXLINK_TRY_ASSIGN(plan, planFromParent(parent, 0, config));
    plan.meeting.key = meetingKey(kSplit, parent.nextOrdinal());
    plan.meeting.size = static_cast<uint32_t>(parent.ranks());
    plan.meeting.index = static_cast<uint32_t>(parent.rank());
    for (int rank = 0; rank < parent.ranks(); ++rank) parent.addAttendant(rank, &plan.attendants);
    return {};
  }));
  plan.split = true;
  plan.color = color;
  plan.key = key;
  if (color != NCCL_SPLIT_NOCOLOR) return beginCreation(out, std::move(plan));
  ncclComm* shell = newShell();  // takes part in the meeting, then nothing is left of it
  FLEXLINK_TRY(startCreation(shell, std::move(plan)));
  return issueCreation(shell, nullptr);
}

Status shrink(ncclComm_t comm, const std::vector<int>& excluded, ncclComm_t* out,
              ncclConfig_t* config, int flags) {
  CreationPlan plan;
  FLEXLINK_TRY_ASSIGN(ncclComm * shell, readyShell(comm));
  if (flags & NCCL_SHRINK_ABORT) {
    std::lock_guard<std::mutex> lock(shell->life);
    if (shell->impl) {
      shell->impl->giveUp(makeStatus(Code::kInvalidUsage, "ncclCommShrink with NCCL_SHRINK_ABORT"));
    }
  }
  FLEXLINK_TRY(withCommunicator(comm, [&](Communicator& parent) -> Status {
    std::vector<int> survivors;
    for (int rank = 0; rank < parent.ranks(); ++rank) {
      if (std::find(excluded.begin(), excluded.end(), rank) == excluded.end())
        survivors.push_back(rank);
    }
    auto me = std::find(survivors.begin(), survivors.end(), parent.rank());
    if (me == survivors.end()) {
      return makeStatus(Code::kInvalidArgument,
                        "ncclCommShrink: rank %d is on the list of excluded ranks; "
                        "only those that stay call it",
                        parent.rank());
    }
    bool known = survivors.size() + std::set<int>(excluded.begin(), excluded.end()).size() ==
                 static_cast<size_t>(parent.ranks());
    if (!known) {
      return makeStatus(Code::kInvalidArgument,
                        "ncclCommShrink on rank %d: the excluded ranks must be "
                        "others of 0..%d",
                        parent.rank(), parent.ranks() - 1);
    }
    parent.drainOrFail();
    FLEXLINK_TRY_ASSIGN(plan, planFromParent(parent, survivors[0], config));
    uint64_t which = parent.nextOrdinal();  // and who stays, so that unlike lists do not meet
    for (int rank : survivors) parent.addAttendant(rank, &plan.attendants);
    for (int rank : survivors) which = which * 1000003 + static_cast<uint64_t>(rank);
    plan.meeting.key = meetingKey(kShrink, which);
    plan.meeting.size = static_cast<uint32_t>(survivors.size());
    plan.meeting.index = static_cast<uint32_t>(me - survivors.begin());
    return {};
  }));
  return beginCreation(out, std::move(plan));
}

// Existing ranks learn the id from the one that has it, over the communicator itself.
Status shareGrowId(Communicator& parent, const ncclUniqueId* mine, ncclUniqueId* found) {
  struct Said {
    uint64_t has;
    ncclUniqueId id;
  };
  auto ranks = static_cast<size_t>(parent.ranks());
  Said said{mine != nullptr, mine != nullptr ? *mine : ncclUniqueId{}};
  std::vector<Said> all(ranks);
  Call call;
  call.kind = Collective::kAllGather;
  call.send = &said;
  call.recv = all.data();
  call.count = sizeof said;
  FLEXLINK_TRY(parent.runNow(call));
  for (const Said& each : all) {
    if (each.has == 0) continue;
    *found = each.id;
    return {};
  }
  return makeStatus(Code::kInvalidArgument,
                    "ncclCommGrow: none of the existing ranks passed a unique "
                    "id (from ncclCommGetUniqueId)");
}

Status grow(ncclComm_t comm, const InitArguments& in, const ncclUniqueId* id) {
  if (in.comm == nullptr)
    return makeStatus(Code::kInvalidArgument, "ncclCommGrow: newcomm is NULL");
  *in.comm = nullptr;
  InitArguments init = in;
  init.kind = kGrow;
  ncclUniqueId found{};
  if (comm == nullptr) {
    if (id == nullptr)
      return makeStatus(Code::kInvalidArgument, "ncclCommGrow: a new rank needs the id");
    return initRank(init, *id);
  }
  FLEXLINK_TRY(withCommunicator(comm, [&](Communicator& parent) -> Status {
    FLEXLINK_TRY(parent.usable());
    if (in.rank != -1 || in.ranks <= parent.ranks()) {
      return makeStatus(Code::kInvalidArgument,
                        "ncclCommGrow on an existing rank: rank must be -1 (is "
                        "%d) and nRanks more than %d (is %d)",
                        in.rank, parent.ranks(), in.ranks);
    }
    init.rank = parent.rank();
    init.parentHash = parent.hash();
    init.device = parent.device();
    return shareGrowId(parent, id, &found);
  }));
  return initRank(init, found);
}

}  // namespace
}  // namespace flexlink

using namespace flexlink;

FLEXLINK_API(ncclResult_t, ncclGetUniqueId, (ncclUniqueId * uniqueId)) {
  return guarded([&] { return makeUniqueId(uniqueId); });
}

FLEXLINK_API(ncclResult_t, ncclCommInitRankConfig,
             (ncclComm_t * comm, int nranks, ncclUniqueId commId, int rank, ncclConfig_t* config)) {
  return guarded([&] { return noteInGroup(initRank({comm, nranks, rank, config}, commId)); });
}

FLEXLINK_API(ncclResult_t, ncclCommInitRank,
             (ncclComm_t * comm, int nranks, ncclUniqueId commId, int rank)) {
  return guarded([&] { return noteInGroup(initRank({comm, nranks, rank, nullptr}, commId)); });
}

FLEXLINK_API(ncclResult_t, ncclCommInitRankScalable,
             (ncclComm_t * comm, int nranks, int myrank, int nId, ncclUniqueId* commIds,
              ncclConfig_t* config)) {
  return guarded([&]() -> Status {
    if (commIds == nullptr || nId < 1 || nId > nranks) {
      return noteInGroup(makeStatus(Code::kInvalidArgument,
                                    "ncclCommInitRankScalable: %d ids for %d "
                                    "ranks",
                                    nId, nranks));
    }
    // One door is enough; further ids are doors that stay shut.
    return noteInGroup(initRank({comm, nranks, myrank, config}, commIds[0]));
  });
}

FLEXLINK_API(ncclResult_t, ncclCommInitAll, (ncclComm_t * comm, int ndev, const int* devlist)) {
  return guarded([&]() -> Status {
    if (comm == nullptr || ndev < 1) {
      return makeStatus(Code::kInvalidArgument, "ncclCommInitAll: %d devices", ndev);
    }
    ncclUniqueId id;
    FLEXLINK_TRY(makeUniqueId(&id));
    FLEXLINK_TRY(groupStart());
    for (int rank = 0; rank < ndev; ++rank) {
      InitArguments in{comm + rank, ndev, rank, nullptr, devlist != nullptr ? devlist[rank] : rank};
      (void)noteInGroup(initRank(in, id));
    }
    return groupEnd();
  });
}

FLEXLINK_API(ncclResult_t, ncclCommSplit,
             (ncclComm_t comm, int color, int key, ncclComm_t* newcomm, ncclConfig_t* config)) {
  return guarded([&] { return noteInGroup(split(comm, color, key, newcomm, config)); });
}

FLEXLINK_API(ncclResult_t, ncclCommShrink,
             (ncclComm_t comm, int* excludeRanksList, int excludeRanksCount, ncclComm_t* newcomm,
              ncclConfig_t* config, int shrinkFlags)) {
  return guarded([&]() -> Status {
    if (newcomm == nullptr || excludeRanksCount < 1 || excludeRanksList == nullptr ||
        (shrinkFlags & ~NCCL_SHRINK_ABORT) != 0) {
      return makeStatus(Code::kInvalidArgument, "ncclCommShrink: %d ranks to exclude, flags 0x%x",
                        excludeRanksCount, shrinkFlags);
    }
    *newcomm = nullptr;
    std::vector<int> excluded(excludeRanksList, excludeRanksList + excludeRanksCount);
    return noteInGroup(shrink(comm, excluded, newcomm, config, shrinkFlags));
  });
}

FLEXLINK_API(ncclResult_t, ncclCommGetUniqueId, (ncclComm_t comm, ncclUniqueId* uniqueId)) {
  return guarded([&]() -> Status {
    FLEXLINK_TRY(withCommunicator(comm, [](Communicator& parent) { return parent.usable(); }));
    return makeUniqueId(uniqueId);
  });
}

FLEXLINK_API(ncclResult_t, ncclCommGrow,
             (ncclComm_t comm, int nRanks, const ncclUniqueId* uniqueId, int rank,
              ncclComm_t* newcomm, ncclConfig_t* config)) {
  return guarded([&] {
    return noteInGroup(grow(comm, {newcomm, nRanks, rank, config}, uniqueId));
  });
}
