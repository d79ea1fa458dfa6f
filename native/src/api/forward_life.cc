// SPDX-License-Identifier: Apache-2.0
#include "api/forward_life.h"

#include <unistd.h>

#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "api/config.h"
#include "api/export.h"
#include "api/forward.h"
#include "api/mode.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/settings.h"
#include "comm/promised_door.h"
#include "comm/side_id.h"

namespace flexlink {

thread_local constinit bool lastFailureIsOurs = false;

void refuseMissing(const VendorApi& vendor, const char* function) noexcept {
  lastFailureIsOurs = true;
  (void)guarded([&] {
    return makeStatus(Code::kInvalidUsage,
                      "%s: %s (NCCL %s), to which calls pass through, does not have this function",
                      function, vendor.path.c_str(), versionText(vendor.version).c_str());
  });
}

namespace {

struct Made {
  ncclComm_t* place;
  PassedFacts facts;
};

// The calling thread's group: what is made in it has no handle before its end.
struct Group {
  int depth = 0;
  std::vector<Made> made;
  CutCalls cuts;
  ncclResult_t failed = ncclSuccess;  // how the first of its calls that failed did so; failGroup()
};
thread_local constinit Group group;

// Keeping records never fails a call.
template <typename Body>
void quietly(Body&& body) noexcept {
  try {
    body();
  } catch (...) {  // no memory: what is missing is only not shown
  }
}

uint64_t hashOf(const ncclUniqueId& id) { return fnv1a({id.internal, sizeof id.internal}); }

std::string nameIn(const ncclConfig_t* config) {
  CommConfig read;
  return readConfig(config, &read).ok() ? read.name : "";
}

// Until the vendor has finished, the handle may not be there yet, and answers no questions.
void record(const VendorApi& vendor, Made made, ncclResult_t result) {
  const bool ready = result == ncclSuccess;
  const bool known = *made.place != nullptr && (ready || made.facts.rank >= 0);
  if (!known) {
    if (!ready) expectPassed(made.place, std::move(made.facts));
    return;
  }
  // Its address is that of one long gone.
  if (auto side = dropPassed(*made.place, ProbeState::kClosed)) side->abort();
  addPassed(vendor, *made.place, std::move(made.facts), ready);
}

// After a call that makes a communicator, on its result.
template <typename Facts>
ncclResult_t noteMade(const VendorApi& vendor, ncclComm_t* place, ncclResult_t result,
                      Facts&& facts) noexcept {
  if (!taken(result)) failGroup(vendor, result);
  if (!taken(result) || place == nullptr) return result;
  quietly([&] {
    if (group.depth > 0) {
      group.made.push_back({place, facts()});
    } else {
      record(vendor, {place, facts()}, result);
    }
  });
  return result;
}

// With NCCL_COMM_ID, one port beyond the vendor's.
std::optional<SidePlace> promisedSide(const ncclUniqueId& id, int rank) {
  guardAgainstFork();
  Result<UniqueId> door = promisedId(1);
  Status status = door.status();
  if (status.ok() && rank == 0) status = openPromisedDoor(door.value());
  if (status.ok()) return SidePlace{door.value(), hashOf(id), true};
  FLEXLINK_WARN("the vendor's library alone carries all: %s", status.text());
  return {};
}

// Where the ranks' own lanes meet, if they are wanted.
std::optional<SidePlace> sideIn(const VendorApi& vendor, const ncclUniqueId& id, int rank) {
  if (!sideWish(vendor).ok()) return {};
  if (!settings().commId.empty()) return promisedSide(id, rank);
  std::optional<UniqueId> side = findSide(id);
  if (!side) {
    FLEXLINK_WARN(
        "the vendor's library alone carries all: the unique id was made without FlexLink, "
        "or without FLEXLINK_LANES");
    return {};
  }
  return SidePlace{*side};
}

// Of communicators whose ranks are all of this process.
std::optional<SidePlace> sideHere(const VendorApi& vendor) {
  if (!sideWish(vendor).ok()) return {};
  guardAgainstFork();
  Result<SocketAddress> door = myDoor();
  if (!door.ok()) {
    FLEXLINK_WARN("the vendor's library alone carries all: %s", door.status().text());
    return {};
  }
  UniqueId id;
  id.address = door.value();
  id.cookie = randomCookie();
  admitCookie(id.cookie);
  return SidePlace{id};
}

PassedFacts factsOf(const VendorApi& vendor, int rank, int ranks, const ncclUniqueId& id,
                    const ncclConfig_t* config) {
  return {rank, ranks, hashOf(id), 0, nameIn(config), sideIn(vendor, id, rank)};
}

// Adds to the id where lanes of ours meet.
Status addSideTo(ncclUniqueId* id) {
  guardAgainstFork();
  FLEXLINK_TRY_ASSIGN(SocketAddress door, myDoor());
  std::optional<Cookie> cookie = addSide(door, randomCookie(), id);
  if (!cookie) return makeStatus(Code::kInternal, "there is no room in the vendor's unique id");
  admitCookie(*cookie);
  return {};
}

ncclResult_t groupEnded(const VendorApi& vendor, ncclResult_t result) noexcept {
  if (group.depth == 0) return result;
  --group.depth;
  if (group.depth > 0) return result;
  quietly([&] {
    std::vector<Made> made = std::exchange(group.made, {});
    if (!taken(result)) return;
    for (Made& each : made) record(vendor, std::move(each), result);
  });
  return result;
}

// At the end of the outermost group: what lanes of ours are to carry of it, and how one of its
// calls has failed; then nothing of it is to run.
struct Ending {
  CutCalls cuts;
  ncclResult_t failed = ncclSuccess;
};

Ending takeEnding() {
  if (group.depth != 1) return {};
  return {std::exchange(group.cuts, {}), std::exchange(group.failed, ncclSuccess)};
}

// All communicators of ncclCommInitAll are of this process.
uint64_t freshId() {
  static std::atomic<uint64_t> made{0};  // relaxed: any order of numbers does
  const uint64_t parts[] = {static_cast<uint64_t>(getpid()), made.fetch_add(1)};
  return fnv1a({reinterpret_cast<const char*>(parts), sizeof parts});
}

}  // namespace

CutCalls* cutsOfGroup() noexcept { return group.depth > 0 ? &group.cuts : nullptr; }

void failGroup(const VendorApi& vendor, ncclResult_t result) noexcept {
  if (group.depth == 0 || group.failed != ncclSuccess || !sideWish(vendor).ok()) return;
  group.failed = result;
}

namespace life {

// vendor->name with these arguments.
#define HAND_OVER(name, ...) handOver(*passThrough(), #name, passThrough()->name, __VA_ARGS__)

const char* ncclGetLastError(ncclComm_t comm) noexcept {
  const VendorApi& vendor = *passThrough();
  if (lastFailureIsOurs || vendor.ncclGetLastError == nullptr) return lastErrorText();
  return HAND_OVER(ncclGetLastError, comm);
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* uniqueId) noexcept {
  const VendorApi& vendor = *passThrough();
  ncclResult_t result = HAND_OVER(ncclGetUniqueId, uniqueId);
  if (result != ncclSuccess || uniqueId == nullptr) return result;
  quietly([&] {
    if (!sideWish(vendor).ok() || !settings().commId.empty()) return;
    Status status = addSideTo(uniqueId);
    if (!status.ok()) FLEXLINK_WARN("the vendor's library alone carries all: %s", status.text());
  });
  return result;
}

// Ours first: whoever waits in it hears why.
ncclResult_t ncclCommRevoke(ncclComm_t comm, int revokeFlags) noexcept {
  quietly([&] {
    std::shared_ptr<Side> side = sideOf(comm);
    if (side) side->fail(makeStatus(Code::kInvalidUsage, "the communicator was revoked"));
  });
  return HAND_OVER(ncclCommRevoke, comm, revokeFlags);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* asyncError) noexcept {
  ncclResult_t result = HAND_OVER(ncclCommGetAsyncError, comm, asyncError);
  if (result == ncclSuccess && asyncError != nullptr) {
    quietly([&] {
      if (*asyncError == ncclSuccess) (void)usePassed(*passThrough(), comm);
      settlePassed(comm, *asyncError);
      std::shared_ptr<Side> side = sideOf(comm);
      Status failure = side ? side->failure() : Status();
      if (failure.ok()) return;
      *asyncError = static_cast<ncclResult_t>(failure.code());
      lastFailureIsOurs = true;
      setLastError(failure);  // without a line in the log: it is asked again and again
    });
  }
  return result;
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int nranks, ncclUniqueId commId,
                              int rank) noexcept {
  return noteMade(*passThrough(), comm, HAND_OVER(ncclCommInitRank, comm, nranks, commId, rank),
                  [&] { return factsOf(*passThrough(), rank, nranks, commId, nullptr); });
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank,
                                    ncclConfig_t* config) noexcept {
  return noteMade(*passThrough(), comm,
                  HAND_OVER(ncclCommInitRankConfig, comm, nranks, commId, rank, config),
                  [&] { return factsOf(*passThrough(), rank, nranks, commId, config); });
}

ncclResult_t ncclCommInitRankScalable(ncclComm_t* newcomm, int nranks, int myrank, int nId,
                                      ncclUniqueId* commIds, ncclConfig_t* config) noexcept {
  ncclResult_t result =
      HAND_OVER(ncclCommInitRankScalable, newcomm, nranks, myrank, nId, commIds, config);
  return noteMade(*passThrough(), newcomm, result,
                  [&] { return factsOf(*passThrough(), myrank, nranks, commIds[0], config); });
}

ncclResult_t ncclCommInitAll(ncclComm_t* comm, int ndev, const int* devlist) noexcept {
  ncclResult_t result = HAND_OVER(ncclCommInitAll, comm, ndev, devlist);
  const uint64_t id = freshId();
  std::optional<SidePlace> side;
  if (taken(result)) quietly([&] { side = sideHere(*passThrough()); });
  for (int rank = 0; comm != nullptr && rank < ndev; ++rank) {
    (void)noteMade(*passThrough(), comm + rank, result,
                   [&] { return PassedFacts{rank, ndev, id, 0, "", side}; });
  }
  return result;
}

ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t* newcomm,
                           ncclConfig_t* config) noexcept {
  ncclResult_t result = HAND_OVER(ncclCommSplit, comm, color, key, newcomm, config);
  return noteMade(*passThrough(), newcomm, result, [&] {
    PassedFacts facts = childFacts(comm, static_cast<uint64_t>(color));
    facts.name = nameIn(config);
    return facts;
  });
}

ncclResult_t ncclCommShrink(ncclComm_t comm, int* excludeRanksList, int excludeRanksCount,
                            ncclComm_t* newcomm, ncclConfig_t* config, int shrinkFlags) noexcept {
  quietly([&] {
    std::shared_ptr<Side> side = (shrinkFlags & NCCL_SHRINK_ABORT) != 0 ? sideOf(comm) : nullptr;
    if (!side) return;
    side->fail(makeStatus(Code::kInvalidUsage, "ncclCommShrink with NCCL_SHRINK_ABORT"));
  });
  ncclResult_t result = HAND_OVER(ncclCommShrink, comm, excludeRanksList, excludeRanksCount,
                                  newcomm, config, shrinkFlags);
  return noteMade(*passThrough(), newcomm, result, [&] {
    // Who stays: unlike lists do not meet.
    uint64_t stays = 0;
    for (int i = 0; i < excludeRanksCount; ++i) stays += fnv1a(std::to_string(excludeRanksList[i]));
    PassedFacts facts = childFacts(comm, stays);
    facts.name = nameIn(config);
    return facts;
  });
}

// Ranks of the old communicator do not all know the unique id: its id is the vendor's own.
ncclResult_t ncclCommGrow(ncclComm_t comm, int nRanks, const ncclUniqueId* uniqueId, int rank,
                          ncclComm_t* newcomm, ncclConfig_t* config) noexcept {
  ncclResult_t result = HAND_OVER(ncclCommGrow, comm, nRanks, uniqueId, rank, newcomm, config);
  return noteMade(*passThrough(), newcomm, result, [&] {
    PassedFacts facts = childFacts(comm, 0);
    facts.id = 0;
    facts.side.reset();  // new ranks do not know where that would be
    facts.name = nameIn(config);
    return facts;
  });
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) noexcept {
  ncclResult_t result = HAND_OVER(ncclCommFinalize, comm);
  if (taken(result)) quietly([&] { finalizePassed(comm); });
  return result;
}

// From the moment that the vendor frees it, its address may be that of another one.
ncclResult_t ncclCommDestroy(ncclComm_t comm) noexcept {
  quietly([&] {
    if (auto side = dropPassed(comm, ProbeState::kClosed)) side->destroy();
  });
  return HAND_OVER(ncclCommDestroy, comm);
}

ncclResult_t ncclCommAbort(ncclComm_t comm) noexcept {
  quietly([&] {
    if (auto side = dropPassed(comm, ProbeState::kAborted)) side->abort();
  });
  return HAND_OVER(ncclCommAbort, comm);
}

ncclResult_t flexlinkCommLeave(ncclComm_t comm) noexcept {
  quietly([&] {
    if (auto side = dropPassed(comm, ProbeState::kClosed)) side->destroy();
  });
  return HAND_OVER(flexlinkCommLeave, comm);
}

ncclResult_t ncclGroupStart() noexcept {
  const VendorApi& vendor = *passThrough();
  ncclResult_t result = handOver(vendor, "ncclGroupStart", vendor.ncclGroupStart);
  if (result != ncclSuccess) return result;
  ++group.depth;
  return result;
}

ncclResult_t ncclGroupEnd() noexcept {
  const VendorApi& vendor = *passThrough();
  Ending ending = takeEnding();
  ncclResult_t failed = ending.failed == ncclSuccess ? ending.cuts.enter() : ending.failed;
  if (failed != ncclSuccess) {
    (void)groupEnded(vendor, HAND_OVER(ncclGroupSimulateEnd, nullptr));  // nothing of it runs
    return failed;
  }
  return ending.cuts.leave(
      groupEnded(vendor, handOver(vendor, "ncclGroupEnd", vendor.ncclGroupEnd)));
}

ncclResult_t ncclGroupSimulateEnd(ncclSimInfo_t* simInfo) noexcept {
  const ncclResult_t failed = takeEnding().failed;
  ncclResult_t result = groupEnded(*passThrough(), HAND_OVER(ncclGroupSimulateEnd, simInfo));
  return taken(result) && failed != ncclSuccess ? failed : result;
}

#undef HAND_OVER

}  // namespace life
}  // namespace flexlink
