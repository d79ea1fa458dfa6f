// SPDX-License-Identifier: Apache-2.0
#include "lane/vendor/vendor_calls.h"

namespace flexlink {
namespace {

ncclDataType_t typeOf(const Call& call) { return static_cast<ncclDataType_t>(call.type); }

}  // namespace

Status VendorCalls::possibleWith(const VendorApi& api) {
  struct Need {
    bool there;
    const char* name;
  };
#define NEED(name) \
  Need { api.name != nullptr, #name }
  const Need needs[] = {NEED(ncclGetErrorString),
                        NEED(ncclGetLastError),
                        NEED(ncclGetUniqueId),
                        NEED(ncclCommInitRankConfig),
                        NEED(ncclCommGetAsyncError),
                        NEED(ncclCommAbort),
                        NEED(ncclCommDestroy),
                        NEED(ncclGroupStart),
                        NEED(ncclGroupEnd),
                        NEED(ncclAllGather),
                        NEED(ncclReduceScatter),
                        NEED(ncclAllReduce),
                        NEED(ncclBroadcast),
                        NEED(ncclReduce),
                        NEED(ncclSend),
                        NEED(ncclRecv),
                        NEED(ncclRedOpCreatePreMulSum),
                        NEED(ncclRedOpDestroy)};
#undef NEED
  for (const Need& need : needs) {
    if (need.there) continue;
    return makeStatus(Code::kInvalidArgument, "no vendor lane with %s: it has no %s",
                      api.path.c_str(), need.name);
  }
  return {};
}

// vendor.function(arguments), remembered by its name.
#define CALL(function, ...) (last_ = #function, api_.function(__VA_ARGS__))

ncclResult_t VendorCalls::make(const Call& call, const Place& at) {
  const ncclDataType_t type = typeOf(call);
  switch (call.kind) {
    case Collective::kSend:
      return CALL(ncclSend, call.send, call.count, type, call.root, at.comm, at.stream);
    case Collective::kRecv:
      return CALL(ncclRecv, call.recv, call.count, type, call.root, at.comm, at.stream);
    case Collective::kBroadcast:
      return CALL(ncclBroadcast, call.send, call.recv, call.count, type, call.root, at.comm,
                  at.stream);
    case Collective::kAllReduce:
    case Collective::kReduce:
      return fold(call, at);
    default:
      return several(call) ? blocks(call, at) : whole(call, at);
  }
}

bool VendorCalls::hasWhole(const Call& call) const {
  if (call.kind == Collective::kAlltoAll) {
    return api_.ncclAlltoAll != nullptr && call.send != call.recv;
  }
  if (call.kind == Collective::kGather) return api_.ncclGather != nullptr;
  return call.kind != Collective::kScatter || api_.ncclScatter != nullptr;
}

bool VendorCalls::several(const Call& call) const {
  const bool inBlocks = sendsBlocks(call.kind) || receivesBlocks(call.kind);
  return inBlocks && (strideOf(call) != call.count || !hasWhole(call));
}

ncclResult_t VendorCalls::fold(const Call& call, const Place& at) {
  auto op = static_cast<ncclRedOp_t>(call.op);
  const bool made = call.op == ReduceOp::kPreMulSum;
  if (made) {
    uint64_t scalar = call.scalar;
    const bool onDevice = call.scalarAddress != nullptr;
    ncclResult_t result = CALL(
        ncclRedOpCreatePreMulSum, &op, onDevice ? const_cast<void*>(call.scalarAddress) : &scalar,
        typeOf(call), onDevice ? ncclScalarDevice : ncclScalarHostImmediate, at.comm);
    if (!taken(result)) return result;
  }
  ncclResult_t result = call.kind == Collective::kAllReduce
                            ? CALL(ncclAllReduce, call.send, call.recv, call.count, typeOf(call),
                                   op, at.comm, at.stream)
                        : call.kind == Collective::kReduceScatter
                            ? CALL(ncclReduceScatter, call.send, call.recv, call.count,
                                   typeOf(call), op, at.comm, at.stream)
                            : CALL(ncclReduce, call.send, call.recv, call.count, typeOf(call), op,
                                   call.root, at.comm, at.stream);
  if (made) (void)api_.ncclRedOpDestroy(op, at.comm);
  return result;
}

// Blocks that lie one behind the other.
ncclResult_t VendorCalls::whole(const Call& call, const Place& at) {
  const ncclDataType_t type = typeOf(call);
  switch (call.kind) {
    case Collective::kAllGather:
      return CALL(ncclAllGather, call.send, call.recv, call.count, type, at.comm, at.stream);
    case Collective::kAlltoAll:
      return CALL(ncclAlltoAll, call.send, call.recv, call.count, type, at.comm, at.stream);
    case Collective::kGather:
      return CALL(ncclGather, call.send, call.recv, call.count, type, call.root, at.comm,
                  at.stream);
    case Collective::kScatter:
      return CALL(ncclScatter, call.send, call.recv, call.count, type, call.root, at.comm,
                  at.stream);
    default:
      return fold(call, at);
  }
}

// An AlltoAll in place sends what it receives into.
const uint8_t* VendorCalls::safeSend(const Call& call, size_t offset) {
  const auto* from = static_cast<const uint8_t*>(call.send) + offset;
  if (call.kind != Collective::kAlltoAll || call.send != call.recv) return from;
  copies_.emplace_back(from, from + bytesOf(call));
  return copies_.back().data();
}

// Blocks that lie apart, which the vendor's own calls cannot say, and what only newer vendors have:
// block by block, in one group.
ncclResult_t VendorCalls::blocks(const Call& call, const Place& at) {
  const size_t stride = strideOf(call) * typeSize(call.type);
  for (int peer = 0; peer < ranks_; ++peer) {
    ncclResult_t result = block(call, peer, static_cast<size_t>(peer) * stride, at);
    if (!taken(result)) return result;
  }
  return ncclSuccess;
}

ncclResult_t VendorCalls::block(const Call& call, int peer, size_t offset, const Place& at) {
  Call part = call;
  part.root = peer;
  if (call.kind == Collective::kAllGather) {
    part.kind = Collective::kBroadcast;
    part.recv = static_cast<uint8_t*>(call.recv) + offset;
    return make(part, at);
  }
  if (call.kind == Collective::kReduceScatter) {
    part.kind = Collective::kReduce;
    part.send = static_cast<const uint8_t*>(call.send) + offset;
    return make(part, at);
  }
  if (sendsTo(call, rank_, peer)) {
    part.kind = Collective::kSend;
    part.send = safeSend(call, call.kind == Collective::kGather ? 0 : offset);
    ncclResult_t result = make(part, at);
    if (!taken(result)) return result;
  }
  if (!sendsTo(call, peer, rank_)) return ncclSuccess;
  part.kind = Collective::kRecv;
  part.recv = static_cast<uint8_t*>(call.recv) + (call.kind == Collective::kScatter ? 0 : offset);
  return make(part, at);
}

#undef CALL

}  // namespace flexlink
