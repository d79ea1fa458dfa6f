// SPDX-License-Identifier: Apache-2.0
// Collectives and point to point: arguments are checked, the call is issued, nothing is decided.
#include <limits>

#include "api/config.h"
#include "api/export.h"
#include "api/group.h"
#include "api/handles.h"
#include "api/redop.h"

namespace flexlink {
namespace {

// What the user passed, before it is checked.
struct Arguments {
  Collective kind;
  const void* send;
  void* recv;
  size_t count;
  ncclDataType_t type;
  ncclRedOp_t op = ncclSum;
  int root = 0;
  ncclComm_t comm;
  cudaStream_t stream;
  const ncclCollConfig_t* config = nullptr;
};

struct BufferNeeds {
  bool send;
  bool recv;
  bool allRanks;  // one of them holds a block for each rank
};

BufferNeeds needsOf(Collective kind, bool root) {
  switch (kind) {
    case Collective::kBroadcast:
      return {root, true, false};
    case Collective::kReduce:
      return {true, root, false};
    case Collective::kGather:
      return {true, root, true};
    case Collective::kScatter:
      return {root, true, true};
    case Collective::kSend:
      return {true, false, false};
    case Collective::kRecv:
      return {false, true, false};
    case Collective::kAllReduce:
      return {true, true, false};
    default:
      return {true, true, true};
  }
}

// A kernel that reads what the GPU does not reach would spoil the whole process.
Status checkReach(const Arguments& in, const Communicator& comm, const void* buffer) {
  FLEXLINK_TRY_ASSIGN(const MemoryKind kind, comm.gpu()->memoryOf(buffer));
  if (kind != MemoryKind::kHost) return {};
  return makeStatus(Code::kInvalidArgument,
                    "%s on rank %d: %p is host memory that no GPU reaches; a communicator on a GPU "
                    "takes memory from cudaMalloc, cudaMallocHost or ncclMemAlloc",
                    collectiveName(in.kind), comm.rank(), buffer);
}

Status checkBuffers(const Arguments& in, const Communicator& comm) {
  if (in.count == 0) return {};
  BufferNeeds needs = needsOf(in.kind, in.root == comm.rank());
  const char* missing = needs.send && in.send == nullptr   ? "send buffer (sendbuff)"
                        : needs.recv && in.recv == nullptr ? "receive buffer (recvbuff)"
                                                           : nullptr;
  if (missing != nullptr) {
    return makeStatus(Code::kInvalidArgument, "%s on rank %d: the %s is NULL",
                      collectiveName(in.kind), comm.rank(), missing);
  }
  size_t blocks = needs.allRanks ? static_cast<size_t>(comm.ranks()) : 1;
  size_t limit = std::numeric_limits<ptrdiff_t>::max();
  if (in.count > limit / blocks / typeSize(static_cast<DataType>(in.type))) {
    return makeStatus(Code::kInvalidArgument,
                      "%s on rank %d: a count of %zu elements does not fit in memory",
                      collectiveName(in.kind), comm.rank(), in.count);
  }
  if (comm.gpu() == nullptr) return {};
  if (needs.send) FLEXLINK_TRY(checkReach(in, comm, in.send));
  return needs.recv ? checkReach(in, comm, in.recv) : Status();
}

Status toCall(const Arguments& in, Communicator& comm, Call* call) {
  FLEXLINK_TRY(checkCollConfig(in.config));
  if (in.type < 0 || in.type >= ncclNumTypes) {
    return makeStatus(Code::kInvalidArgument, "%s: there is no data type %d",
                      collectiveName(in.kind), static_cast<int>(in.type));
  }
  if (in.root < 0 || in.root >= comm.ranks()) {
    return makeStatus(Code::kInvalidArgument, "%s: %s %d is not a rank of a communicator of %d",
                      collectiveName(in.kind), isCollective(in.kind) ? "root" : "peer", in.root,
                      comm.ranks());
  }
  FLEXLINK_TRY(checkBuffers(in, comm));
  call->kind = in.kind;
  call->type = static_cast<DataType>(in.type);
  call->root = in.root;
  call->send = in.send;
  call->recv = in.recv;
  call->count = in.count;
  FLEXLINK_TRY(resolveOp(comm, in.op, call));
  return comm.usable();
}

ncclResult_t run(const Arguments& in) {
  return guarded([&]() -> Status {
    auto whole = [&]() -> Status {
      FLEXLINK_TRY_ASSIGN(ncclComm * shell, readyShell(in.comm));
      Call call;
      FLEXLINK_TRY(toCall(in, *shell->impl, &call));
      return issue(shell, call, in.stream);
    };
    return noteInGroup(whole());
  });
}

}  // namespace
}  // namespace flexlink

using flexlink::Collective;

// One line for each argument that differs; the rest is alike for all of them.
FLEXLINK_API(ncclResult_t, ncclAllReduceConfig,
             (const void* send, void* recv, size_t count, ncclDataType_t type, ncclRedOp_t op,
              ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config)) {
  return flexlink::run(
      {Collective::kAllReduce, send, recv, count, type, op, 0, comm, stream, config});
}
FLEXLINK_API(ncclResult_t, ncclAllReduce,
             (const void* send, void* recv, size_t count, ncclDataType_t type, ncclRedOp_t op,
              ncclComm_t comm, cudaStream_t stream)) {
  return flexlink::run({Collective::kAllReduce, send, recv, count, type, op, 0, comm, stream});
}

FLEXLINK_API(ncclResult_t, ncclBroadcastConfig,
             (const void* send, void* recv, size_t count, ncclDataType_t type, int root,
              ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config)) {
  return flexlink::run(
      {Collective::kBroadcast, send, recv, count, type, ncclSum, root, comm, stream, config});
}
FLEXLINK_API(ncclResult_t, ncclBroadcast,
             (const void* send, void* recv, size_t count, ncclDataType_t type, int root,
              ncclComm_t comm, cudaStream_t stream)) {
  return flexlink::run(
      {Collective::kBroadcast, send, recv, count, type, ncclSum, root, comm, stream});
}
FLEXLINK_API(ncclResult_t, ncclBcast,
             (void* buffer, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
              cudaStream_t stream)) {
  return flexlink::run(
      {Collective::kBroadcast, buffer, buffer, count, type, ncclSum, root, comm, stream});
}

FLEXLINK_API(ncclResult_t, ncclReduceConfig,
             (const void* send, void* recv, size_t count, ncclDataType_t type, ncclRedOp_t op,
              int root, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config)) {
  return flexlink::run(
      {Collective::kReduce, send, recv, count, type, op, root, comm, stream, config});
}
FLEXLINK_API(ncclResult_t, ncclReduce,
             (const void* send, void* recv, size_t count, ncclDataType_t type, ncclRedOp_t op,
              int root, ncclComm_t comm, cudaStream_t stream)) {
  return flexlink::run({Collective::kReduce, send, recv, count, type, op, root, comm, stream});
}

FLEXLINK_API(ncclResult_t, ncclAllGatherConfig,
             (const void* send, void* recv, size_t count, ncclDataType_t type, ncclComm_t comm,
              cudaStream_t stream, const ncclCollConfig_t* config)) {
  return flexlink::run(
      {Collective::kAllGather, send, recv, count, type, ncclSum, 0, comm, stream, config});
}
FLEXLINK_API(ncclResult_t, ncclAllGather,
             (const void* send, void* recv, size_t count, ncclDataType_t type, ncclComm_t comm,
              cudaStream_t stream)) {
  return flexlink::run({Collective::kAllGather, send, recv, count, type, ncclSum, 0, comm, stream});
}

FLEXLINK_API(ncclResult_t, ncclReduceScatterConfig,
             (const void* send, void* recv, size_t count, ncclDataType_t type, ncclRedOp_t op,
              ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config)) {
  return flexlink::run(
      {Collective::kReduceScatter, send, recv, count, type, op, 0, comm, stream, config});
}
FLEXLINK_API(ncclResult_t, ncclReduceScatter,
             (const void* send, void* recv, size_t count, ncclDataType_t type, ncclRedOp_t op,
              ncclComm_t comm, cudaStream_t stream)) {
  return flexlink::run({Collective::kReduceScatter, send, recv, count, type, op, 0, comm, stream});
}

FLEXLINK_API(ncclResult_t, ncclAlltoAllConfig,
             (const void* send, void* recv, size_t count, ncclDataType_t type, ncclComm_t comm,
              cudaStream_t stream, const ncclCollConfig_t* config)) {
  return flexlink::run(
      {Collective::kAlltoAll, send, recv, count, type, ncclSum, 0, comm, stream, config});
}
FLEXLINK_API(ncclResult_t, ncclAlltoAll,
             (const void* send, void* recv, size_t count, ncclDataType_t type, ncclComm_t comm,
              cudaStream_t stream)) {
  return flexlink::run({Collective::kAlltoAll, send, recv, count, type, ncclSum, 0, comm, stream});
}

FLEXLINK_API(ncclResult_t, ncclGatherConfig,
             (const void* send, void* recv, size_t count, ncclDataType_t type, int root,
              ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config)) {
  return flexlink::run(
      {Collective::kGather, send, recv, count, type, ncclSum, root, comm, stream, config});
}
FLEXLINK_API(ncclResult_t, ncclGather,
             (const void* send, void* recv, size_t count, ncclDataType_t type, int root,
              ncclComm_t comm, cudaStream_t stream)) {
  return flexlink::run({Collective::kGather, send, recv, count, type, ncclSum, root, comm, stream});
}

FLEXLINK_API(ncclResult_t, ncclScatterConfig,
             (const void* send, void* recv, size_t count, ncclDataType_t type, int root,
              ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config)) {
  return flexlink::run(
      {Collective::kScatter, send, recv, count, type, ncclSum, root, comm, stream, config});
}
FLEXLINK_API(ncclResult_t, ncclScatter,
             (const void* send, void* recv, size_t count, ncclDataType_t type, int root,
              ncclComm_t comm, cudaStream_t stream)) {
  return flexlink::run(
      {Collective::kScatter, send, recv, count, type, ncclSum, root, comm, stream});
}

FLEXLINK_API(ncclResult_t, ncclSend,
             (const void* send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
              cudaStream_t stream)) {
  return flexlink::run(
      {Collective::kSend, send, nullptr, count, type, ncclSum, peer, comm, stream});
}
FLEXLINK_API(ncclResult_t, ncclRecv,
             (void* recv, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
              cudaStream_t stream)) {
  return flexlink::run(
      {Collective::kRecv, nullptr, recv, count, type, ncclSum, peer, comm, stream});
}
