// SPDX-License-Identifier: Apache-2.0
// nccl_backend.h: Calls become NCCL calls, one switch for all collectives.
#include "nccl_backend.h"

#include <sched.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "fail.h"
#include "values.h"

namespace flexlink::perf {

ncclUniqueId makeUniqueId(const NcclLibrary& library) {
  ncclUniqueId id{};
  const ncclResult_t result = library.ncclGetUniqueId(&id);
  if (result != ncclSuccess) fail("ncclGetUniqueId failed: %s", library.explain(result).c_str());
  return id;
}

ncclUniqueId idOverPage(const NcclLibrary& library, int rank, SharedPage* page) {
  ncclUniqueId id{};
  if (rank == 0) {
    id = makeUniqueId(library);
    std::memcpy(page->uniqueId, &id, sizeof id);
    page->idReady.store(1, std::memory_order_release);
    return id;
  }
  while (!page->idReady.load(std::memory_order_acquire)) {
    if (page->failed.load(std::memory_order_relaxed)) fail("rank 0 has ended; giving up");
    usleep(100);
  }
  std::memcpy(&id, page->uniqueId, sizeof id);
  return id;
}

std::unique_ptr<NcclBackend> NcclBackend::create(const NcclSetup& setup, std::string* error) {
  std::unique_ptr<NcclBackend> backend(new NcclBackend(setup));
  if (backend->join() && backend->makeStreams()) return backend;
  *error = backend->error_;
  return nullptr;
}

bool NcclBackend::join() {
  const NcclLibrary& library = *setup_.library;
  const auto locals = static_cast<size_t>(setup_.localRanks);
  comms_.assign(locals, nullptr);
  streams_.assign(locals, nullptr);
  mulSums_.resize(locals);
  hasMulSum_.assign(locals, {});
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  if (setup_.ctaPolicy >= 0) config.CTAPolicy = setup_.ctaPolicy;
  // One rank joins without a group: blocking there is what the plain client does.
  const bool grouped = locals > 1;
  if (grouped && !keep(library.ncclGroupStart())) return false;
  for (int i = 0; i < setup_.localRanks; ++i) {
    const int rank = setup_.firstRank + i;
    if (gpu(i)) gpu(i)->use();
    const bool joined =
        setup_.ctaPolicy < 0
            ? keep(library.ncclCommInitRank(&comms_[i], setup_.ranks, setup_.id, rank))
            : keep(library.ncclCommInitRankConfig(&comms_[i], setup_.ranks, setup_.id, rank,
                                                  &config));
    if (!joined) return false;
  }
  return !grouped || keep(library.ncclGroupEnd());
}

bool NcclBackend::makeStreams() {
  for (size_t i = 0; i < setup_.gpus.size(); ++i) {
    streams_[i] = reinterpret_cast<cudaStream_t>(setup_.gpus[i]->stream());
  }
  if (!setup_.async || !setup_.gpus.empty()) return true;
  if (!setup_.library->flexlinkStreamCreate || !setup_.library->flexlinkStreamSynchronize) {
    error_ = setup_.library->path +
             " has no host streams (flexlinkStreamCreate): leave --async away for blocking calls.";
    return false;
  }
  for (cudaStream_t& stream : streams_) {
    if (!keep(setup_.library->flexlinkStreamCreate(&stream))) return false;
  }
  return true;
}

NcclBackend::~NcclBackend() {
  for (cudaStream_t stream : streams_) {
    if (stream && setup_.gpus.empty()) setup_.library->flexlinkStreamDestroy(stream);
  }
  for (ncclComm_t comm : comms_) {
    if (comm) setup_.library->ncclCommDestroy(comm);
  }
}

std::string NcclBackend::refusal(const Call& call) const {
  const NcclLibrary& library = *setup_.library;
  const bool missing = (call.collective == Collective::kAlltoAll && !library.ncclAlltoAll) ||
                       (call.collective == Collective::kGather && !library.ncclGather) ||
                       (call.collective == Collective::kScatter && !library.ncclScatter);
  if (missing) return library.path + " has no function for " + collectiveName(call.collective);
  if (reduces(call.collective) && call.op == Op::kMulSum && !library.ncclRedOpCreatePreMulSum) {
    return library.path + " has no ncclRedOpCreatePreMulSum";
  }
  return {};
}

bool NcclBackend::enqueue(std::span<const Call> calls) {
  if (calls.size() == 1) return keep(issue(calls[0], 0));
  if (!keep(setup_.library->ncclGroupStart())) return false;
  for (size_t i = 0; i < calls.size(); ++i) {
    if (!keep(issue(calls[i], static_cast<int>(i)))) return false;
  }
  return keep(setup_.library->ncclGroupEnd());
}

bool NcclBackend::wait() {
  if (!setup_.gpus.empty()) return waitForGpus();
  if (!setup_.async) return true;
  for (cudaStream_t stream : streams_) {
    if (!keep(setup_.library->flexlinkStreamSynchronize(stream))) return false;
  }
  return true;
}

// As nccl-tests wait: an error that the library finds meanwhile ends the wait, which would else
// have no end.
bool NcclBackend::waitForGpus() {
  for (int i = 0; i < setup_.localRanks; ++i) {
    while (!setup_.gpus[i]->finished()) {
      ncclResult_t found = ncclSuccess;
      const bool asked = setup_.library->ncclCommGetAsyncError == nullptr ||
                         keep(setup_.library->ncclCommGetAsyncError(comms_[i], &found));
      if (!asked || (found != ncclInProgress && !keep(found))) return false;
      sched_yield();
    }
  }
  return true;
}

ncclResult_t NcclBackend::issue(const Call& c, int local) {
  const NcclLibrary& library = *setup_.library;
  const auto type = static_cast<ncclDataType_t>(c.type);
  ncclComm_t comm = comms_[local];
  cudaStream_t stream = streams_[local];
  if (setup_.localRanks > 1 && gpu(local)) gpu(local)->use();
  switch (c.collective) {
    case Collective::kAllReduce:
      return library.ncclAllReduce(c.send, c.recv, c.count, type, reduction(c, local), comm,
                                   stream);
    case Collective::kAllGather:
      return library.ncclAllGather(c.send, c.recv, c.count, type, comm, stream);
    case Collective::kBroadcast:
      return library.ncclBroadcast(c.send, c.recv, c.count, type, c.root, comm, stream);
    case Collective::kReduceScatter:
      return library.ncclReduceScatter(c.send, c.recv, c.count, type, reduction(c, local), comm,
                                       stream);
    case Collective::kReduce:
      return library.ncclReduce(c.send, c.recv, c.count, type, reduction(c, local), c.root, comm,
                                stream);
    case Collective::kAlltoAll:
      return library.ncclAlltoAll(c.send, c.recv, c.count, type, comm, stream);
    case Collective::kGather:
      return library.ncclGather(c.send, c.recv, c.count, type, c.root, comm, stream);
    case Collective::kScatter:
      return library.ncclScatter(c.send, c.recv, c.count, type, c.root, comm, stream);
    case Collective::kSendRecv:
      return sendRecv(c, local);
  }
  return ncclInvalidArgument;
}

ncclResult_t NcclBackend::sendRecv(const Call& c, int local) {
  const NcclLibrary& library = *setup_.library;
  const auto type = static_cast<ncclDataType_t>(c.type);
  const int rank = setup_.firstRank + local;
  const int next = (rank + 1) % setup_.ranks;
  const int previous = (rank + setup_.ranks - 1) % setup_.ranks;
  ncclResult_t result = library.ncclGroupStart();
  if (result != ncclSuccess) return result;
  result = library.ncclSend(c.send, c.count, type, next, comms_[local], streams_[local]);
  if (result != ncclSuccess) return result;
  result = library.ncclRecv(c.recv, c.count, type, previous, comms_[local], streams_[local]);
  if (result != ncclSuccess) return result;
  return library.ncclGroupEnd();
}

ncclRedOp_t NcclBackend::reduction(const Call& call, int local) {
  if (call.op != Op::kMulSum) return static_cast<ncclRedOp_t>(call.op);
  const auto type = static_cast<size_t>(call.type);
  if (!hasMulSum_[local][type]) {
    alignas(8) uint8_t scalar[8] = {};
    encode(call.type, scalarOf(call.type, setup_.firstRank + local), scalar);
    const bool made = keep(setup_.library->ncclRedOpCreatePreMulSum(
        &mulSums_[local][type], scalar, static_cast<ncclDataType_t>(call.type),
        ncclScalarHostImmediate, comms_[local]));
    if (!made) return ncclMaxRedOp;  // no such op: the call itself then fails, too
    hasMulSum_[local][type] = true;
  }
  return mulSums_[local][type];
}

void* NcclBackend::allocate(int local, size_t bytes) {
  if (gpu(local)) gpu(local)->use();
  if (!setup_.library->ncclMemAlloc) {
    error_ = setup_.library->path + " has no ncclMemAlloc: use --buffers malloc.";
    return nullptr;
  }
  void* buffer = nullptr;
  return keep(setup_.library->ncclMemAlloc(&buffer, bytes)) ? buffer : nullptr;
}

bool NcclBackend::registerBuffer(int local, void* buffer, size_t bytes, bool symmetric) {
  const NcclLibrary& library = *setup_.library;
  if (symmetric ? !library.ncclCommWindowRegister : !library.ncclCommRegister) {
    error_ = library.path + " cannot register buffers: use -R 0.";
    return false;
  }
  if (symmetric) {
    ncclWindow_t window = nullptr;
    return keep(library.ncclCommWindowRegister(comms_[local], buffer, bytes, &window,
                                               NCCL_WIN_COLL_SYMMETRIC));
  }
  void* handle = nullptr;
  return keep(library.ncclCommRegister(comms_[local], buffer, bytes, &handle));
}

double NcclBackend::memoryBytes() const {
  uint64_t bytes = 0;
  if (!setup_.library->ncclCommMemStats) return -1;
  const ncclResult_t result =
      setup_.library->ncclCommMemStats(comms_[0], ncclStatGpuMemTotal, &bytes);
  return result == ncclSuccess ? static_cast<double>(bytes) : -1;
}

bool NcclBackend::keep(ncclResult_t result) {
  if (result == ncclSuccess) [[likely]]
    return true;
  error_ = setup_.library->explain(result);
  return false;
}

}  // namespace flexlink::perf
