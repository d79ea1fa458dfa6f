// SPDX-License-Identifier: Apache-2.0
// The rest of a communicator's life: end, abort, errors, questions, suspend.
#include <string.h>

#include <algorithm>

#include "api/export.h"
#include "api/handles.h"

namespace flexlink {
namespace {

Status abortComm(ncclComm_t comm) {
  if (comm == nullptr) return {};
  FLEXLINK_TRY_ASSIGN(ncclComm * shell, checkedShell(comm));
  abortShell(shell);
  return {};
}

Status destroyAfter(ncclComm_t comm, void (*drain)(Communicator&)) {
  if (comm == nullptr) return {};
  FLEXLINK_TRY_ASSIGN(ncclComm * shell, checkedShell(comm));
  destroyShell(shell, drain);
  return {};
}

// Runs body(communicator) whoever drives it meanwhile: for what any thread may do.
template <typename Body>
Status reach(ncclComm_t comm, Body&& body) {
  FLEXLINK_TRY_ASSIGN(ncclComm * shell, readyShell(comm));
  std::lock_guard<std::mutex> life(shell->life);
  if (!shell->impl) return makeStatus(Code::kInvalidArgument, "the communicator was destroyed");
  body(*shell->impl);
  return {};
}

Status revoke(ncclComm_t comm, int flags) {
  if (comm == nullptr) return {};
  FLEXLINK_TRY_ASSIGN(ncclComm * shell, readyShell(comm));
  if (flags != NCCL_REVOKE_DEFAULT) {
    return makeStatus(Code::kInvalidArgument, "ncclCommRevoke: flags must be 0, are 0x%x", flags);
  }
  FLEXLINK_TRY(reach(comm, [](Communicator& c) { c.revoke(); }));
  ShellLock lock(shell);
  if (shell->impl) shell->impl->drainOrFail();
  return {};
}

Status asyncError(ncclComm_t comm, ncclResult_t* out) {
  FLEXLINK_TRY_ASSIGN(ncclComm * shell, checkedShell(comm));
  if (out == nullptr) return makeStatus(Code::kInvalidArgument, "asyncError is NULL");
  *out = ncclSuccess;
  Status status;
  std::unique_lock<std::mutex> life(shell->life);
  switch (shell->state.load(std::memory_order_acquire)) {
    case ncclComm::State::kConnecting:
      *out = ncclInProgress;
      return {};
    case ncclComm::State::kFailed:
      status = shell->creationFailure;
      break;
    case ncclComm::State::kGone:
      return {};
    case ncclComm::State::kReady:
      if (shell->tryLock()) {  // nobody drives it: look at the peers ourselves
        status = shell->impl->revoked() ? Status() : shell->impl->lookAtPeers();
        shell->unlock();
      } else {
        status = shell->impl->firstFailure();
      }
      std::shared_ptr<HostStream> own = shell->impl->ownStream;
      if (status.ok() && own && own->finished() < own->last()) status = Status::inProgress();
  }
  *out = status.code() == Code::kInProgress ? ncclInProgress : resultOf(status);
  return {};
}

// What a question about the communicator answers, also while it is not ready or has failed.
template <typename Ask>
Status ask(ncclComm_t comm, int* out, Ask&& answer) {
  if (out == nullptr) return makeStatus(Code::kInvalidArgument, "the place for the answer is NULL");
  return reach(comm, [&](Communicator& c) { *out = answer(c); });
}

Status properties(Communicator& comm, ncclCommProperties_t* out) {
  constexpr size_t kFirstSize = 56;  // of ncclCommProperties_t in 2.29, its first version
  if (out == nullptr || out->size < kFirstSize || out->magic != NCCL_API_MAGIC) {
    return makeStatus(Code::kInvalidArgument,
                      "ncclCommProperties_t argument not initialized via "
                      "NCCL_COMM_PROPERTIES_INITIALIZER");
  }
  ncclCommProperties_t mine = NCCL_COMM_PROPERTIES_INITIALIZER;
  mine.size = out->size;
  mine.version = out->version;
  mine.rank = comm.rank();
  mine.nRanks = comm.ranks();
  mine.cudaDev = comm.device();
  mine.nvmlDev = -1;  // no GPU stands behind it
  // Load and store reach the ranks of a host; from a GPU that has others on other hosts, nobody.
  mine.nLsaTeams = comm.byImages() ? comm.ranks() : comm.hosts();
  mine.hostRmaSupport = !comm.byImages();
  mine.commHash = comm.hash();
  memcpy(static_cast<void*>(out), &mine, std::min(out->size, sizeof mine));
  return {};
}

Status memStats(Communicator& comm, ncclCommMemStat_t stat, uint64_t* value) {
  if (value == nullptr)
    return makeStatus(Code::kInvalidArgument, "ncclCommMemStats: value is NULL");
  uint64_t pool = comm.stagingBytes();
  uint64_t rest = comm.segmentBytes() - pool;
  switch (stat) {
    case ncclStatGpuMemSuspend:
      *value = pool;
      return {};
    case ncclStatGpuMemSuspended:
      *value = comm.suspended() ? 1 : 0;
      return {};
    case ncclStatGpuMemPersist:
      *value = rest;
      return {};
    case ncclStatGpuMemTotal:
      *value = rest + (comm.suspended() ? 0 : pool);
      return {};
  }
  return makeStatus(Code::kInvalidArgument, "ncclCommMemStats: there is no statistic %d",
                    static_cast<int>(stat));
}

// All ranks stop together: nobody still reads staging memory that goes away.
Status suspend(Communicator& comm, int flags) {
  if (flags != NCCL_SUSPEND_MEM) {
    return makeStatus(Code::kInvalidArgument, "ncclCommSuspend: flags 0x%x, not NCCL_SUSPEND_MEM",
                      flags);
  }
  FLEXLINK_TRY(comm.usable());
  Call meet;  // an AllReduce of nothing
  FLEXLINK_TRY(comm.runNow(meet));
  return comm.suspend();
}

}  // namespace
}  // namespace flexlink

using namespace flexlink;

FLEXLINK_API(ncclResult_t, ncclCommAbort, (ncclComm_t comm)) {
  return guarded([&] { return abortComm(comm); });
}
FLEXLINK_API(ncclResult_t, ncclCommDestroy, (ncclComm_t comm)) {
  return guarded([&] { return destroyAfter(comm, [](Communicator& c) { c.drainOrFail(); }); });
}
FLEXLINK_API(ncclResult_t, flexlinkCommLeave, (ncclComm_t comm)) {
  return guarded(
      [&] { return destroyAfter(comm, [](Communicator& c) { c.drainAllButReceives(); }); });
}
FLEXLINK_API(ncclResult_t, ncclCommFinalize, (ncclComm_t comm)) {
  return guarded([&]() -> Status {
    if (comm == nullptr) return {};
    return withCommunicator(comm, [](Communicator& c) { return c.finalize(); });
  });
}
FLEXLINK_API(ncclResult_t, flexlinkCommSetTimeout, (ncclComm_t comm, int64_t timeoutMicros)) {
  return guarded([&] {
    return reach(comm,
                 [&](Communicator& c) { c.setTimeout(static_cast<double>(timeoutMicros) / 1e6); });
  });
}
FLEXLINK_API(ncclResult_t, flexlinkCommWaitsFor, (ncclComm_t comm, int* rank)) {
  return guarded([&] { return ask(comm, rank, [](Communicator& c) { return c.waitsFor(); }); });
}
FLEXLINK_API(ncclResult_t, ncclCommRevoke, (ncclComm_t comm, int revokeFlags)) {
  return guarded([&] { return revoke(comm, revokeFlags); });
}
FLEXLINK_API(ncclResult_t, ncclCommGetAsyncError, (ncclComm_t comm, ncclResult_t* asyncErrorOut)) {
  return guarded([&] { return asyncError(comm, asyncErrorOut); });
}
FLEXLINK_API(ncclResult_t, ncclCommCount, (const ncclComm_t comm, int* count)) {
  return guarded([&] { return ask(comm, count, [](Communicator& c) { return c.ranks(); }); });
}
FLEXLINK_API(ncclResult_t, ncclCommUserRank, (const ncclComm_t comm, int* rank)) {
  return guarded([&] { return ask(comm, rank, [](Communicator& c) { return c.rank(); }); });
}
FLEXLINK_API(ncclResult_t, ncclCommCuDevice, (const ncclComm_t comm, int* device)) {
  return guarded([&] { return ask(comm, device, [](Communicator& c) { return c.device(); }); });
}
FLEXLINK_API(ncclResult_t, ncclCommQueryProperties,
             (ncclComm_t comm, ncclCommProperties_t* props)) {
  return guarded([&] {
    return withCommunicator(comm, [&](Communicator& c) { return properties(c, props); });
  });
}
FLEXLINK_API(ncclResult_t, ncclCommMemStats,
             (ncclComm_t comm, ncclCommMemStat_t stat, uint64_t* value)) {
  return guarded([&] {
    return withCommunicator(comm, [&](Communicator& c) { return memStats(c, stat, value); });
  });
}
FLEXLINK_API(ncclResult_t, ncclCommSuspend, (ncclComm_t comm, int flags)) {
  return guarded(
      [&] { return withCommunicator(comm, [&](Communicator& c) { return suspend(c, flags); }); });
}
FLEXLINK_API(ncclResult_t, ncclCommResume, (ncclComm_t comm)) {
  return guarded(
      [&] { return withCommunicator(comm, [](Communicator& c) { return c.resume(); }); });
}
