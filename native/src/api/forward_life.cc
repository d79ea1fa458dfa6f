// SPDX-License-Identifier: Apache-2.0
#include "api/forward_life.h"

#include <unistd.h>

#include <atomic>
#include <memory>
#include <vector>

#include "api/config.h"
#include "api/export.h"
#include "api/forward.h"
#include "api/mode.h"
#include "base/hash.h"

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
};
thread_local std::unique_ptr<Group> group;

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
  dropPassed(*made.place, ProbeState::kClosed);  // its address is that of one long gone
  addPassed(vendor, *made.place, std::move(made.facts), ready);
}

// After a call that makes a communicator, on its result.
template <typename Facts>
ncclResult_t noteMade(const VendorApi& vendor, ncclComm_t* place, ncclResult_t result,
                      Facts&& facts) noexcept {
  if (!taken(result) || place == nullptr) return result;
  quietly([&] {
    if (group && group->depth > 0) {
      group->made.push_back({place, facts()});
    } else {
      record(vendor, {place, facts()}, result);
    }
  });
  return result;
}

ncclResult_t groupEnded(const VendorApi& vendor, ncclResult_t result) noexcept {
  if (!group || group->depth == 0) return result;
  --group->depth;
  if (group->depth > 0) return result;
  quietly([&] {
    std::vector<Made> made = std::move(group->made);
    group->made.clear();
    if (!taken(result)) return;
    for (Made& each : made) record(vendor, std::move(each), result);
  });
  return result;
}

// All communicators of ncclCommInitAll are of this process.
uint64_t freshId() {
  static std::atomic<uint64_t> made{0};  // relaxed: any order of numbers does
  const uint64_t parts[] = {static_cast<uint64_t>(getpid()), made.fetch_add(1)};
  return fnv1a({reinterpret_cast<const char*>(parts), sizeof parts});
}

}  // namespace

namespace life {

// vendor->name with these arguments.
#define HAND_OVER(name, ...) handOver(*passThrough(), #name, passThrough()->name, __VA_ARGS__)

const char* ncclGetLastError(ncclComm_t comm) noexcept {
  const VendorApi& vendor = *passThrough();
  if (lastFailureIsOurs || vendor.ncclGetLastError == nullptr) return lastErrorText();
  return HAND_OVER(ncclGetLastError, comm);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* asyncError) noexcept {
  ncclResult_t result = HAND_OVER(ncclCommGetAsyncError, comm, asyncError);
  if (result == ncclSuccess && asyncError != nullptr) {
    quietly([&] {
      if (*asyncError == ncclSuccess) (void)usePassed(*passThrough(), comm);
      settlePassed(comm, *asyncError);
    });
  }
  return result;
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int nranks, ncclUniqueId commId,
                              int rank) noexcept {
  return noteMade(*passThrough(), comm, HAND_OVER(ncclCommInitRank, comm, nranks, commId, rank),
                  [&] {
                    return PassedFacts{rank, nranks, hashOf(commId)};
                  });
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank,
                                    ncclConfig_t* config) noexcept {
  return noteMade(*passThrough(), comm,
                  HAND_OVER(ncclCommInitRankConfig, comm, nranks, commId, rank, config), [&] {
                    return PassedFacts{rank, nranks, hashOf(commId), 0, nameIn(config)};
                  });
}

ncclResult_t ncclCommInitRankScalable(ncclComm_t* newcomm, int nranks, int myrank, int nId,
                                      ncclUniqueId* commIds, ncclConfig_t* config) noexcept {
  ncclResult_t result =
      HAND_OVER(ncclCommInitRankScalable, newcomm, nranks, myrank, nId, commIds, config);
  return noteMade(*passThrough(), newcomm, result, [&] {
    return PassedFacts{myrank, nranks, hashOf(commIds[0]), 0, nameIn(config)};
  });
}

ncclResult_t ncclCommInitAll(ncclComm_t* comm, int ndev, const int* devlist) noexcept {
  ncclResult_t result = HAND_OVER(ncclCommInitAll, comm, ndev, devlist);
  const uint64_t id = freshId();
  for (int rank = 0; comm != nullptr && rank < ndev; ++rank) {
    (void)noteMade(*passThrough(), comm + rank, result, [&] {
      return PassedFacts{rank, ndev, id};
    });
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
  ncclResult_t result = HAND_OVER(ncclCommShrink, comm, excludeRanksList, excludeRanksCount,
                                  newcomm, config, shrinkFlags);
  return noteMade(*passThrough(), newcomm, result, [&] {
    PassedFacts facts = childFacts(comm, 0);
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
  quietly([&] { dropPassed(comm, ProbeState::kClosed); });
  return HAND_OVER(ncclCommDestroy, comm);
}

ncclResult_t ncclCommAbort(ncclComm_t comm) noexcept {
  quietly([&] { dropPassed(comm, ProbeState::kAborted); });
  return HAND_OVER(ncclCommAbort, comm);
}

ncclResult_t flexlinkCommLeave(ncclComm_t comm) noexcept {
  quietly([&] { dropPassed(comm, ProbeState::kClosed); });
  return HAND_OVER(flexlinkCommLeave, comm);
}

ncclResult_t ncclGroupStart() noexcept {
  const VendorApi& vendor = *passThrough();
  ncclResult_t result = handOver(vendor, "ncclGroupStart", vendor.ncclGroupStart);
  if (result != ncclSuccess) return result;
  quietly([] {
    if (!group) group = std::make_unique<Group>();
    ++group->depth;
  });
  return result;
}

ncclResult_t ncclGroupEnd() noexcept {
  const VendorApi& vendor = *passThrough();
  return groupEnded(vendor, handOver(vendor, "ncclGroupEnd", vendor.ncclGroupEnd));
}

ncclResult_t ncclGroupSimulateEnd(ncclSimInfo_t* simInfo) noexcept {
  return groupEnded(*passThrough(), HAND_OVER(ncclGroupSimulateEnd, simInfo));
}

#undef HAND_OVER

}  // namespace life
}  // namespace flexlink
