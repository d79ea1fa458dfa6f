// SPDX-License-Identifier: Apache-2.0
#include "lane/vendor/vendor_lane.h"

#include "engine/fd_bell.h"
#include "lane/call_text.h"

namespace flexlink {

VendorLane::VendorLane(std::unique_ptr<VendorComm> comm, int rank, int ranks, ProbeComm* probe)
    : comm_(std::move(comm)),
      rank_(rank),
      ranks_(ranks),
      probe_(probe),
      shown_(probe, kProbeLane) {}

// Windows are ours, not the vendor's: puts into them go another way.
Carries VendorLane::carries(const Call& call) const {
  if (isCollective(call.kind)) {
    return folds(call.kind) && isBitwise(call.op) ? Carries::kNot : Carries::kSlices;
  }
  return isMessage(call.kind) ? Carries::kWhole : Carries::kNot;
}

void VendorLane::startCollective(const Call& call) {
  Batch batch;
  batch.collective.push_back(call);
  start(batch);
}

void VendorLane::start(const Batch& batch) {
  batch_ = batch;
  running_ = true;
  enqueued_ = false;
  since_ = shown_.begin(first());
  Status status = comm_->group([&](ncclComm_t comm, cudaStream_t stream) -> Status {
    for (const Call& call : batch_.single) FLEXLINK_TRY(enqueue(call, comm, stream));
    for (const Call& call : batch_.collective) FLEXLINK_TRY(enqueue(call, comm, stream));
    return {};
  });
  if (!status.ok()) (void)fail(status);
}

Result<ncclRedOp_t> VendorLane::opOf(const Call& call, ncclComm_t comm) const {
  if (call.op != ReduceOp::kPreMulSum) return static_cast<ncclRedOp_t>(call.op);
  uint64_t scalar = call.scalar;
  void* at = call.scalarAddress != nullptr ? const_cast<void*>(call.scalarAddress) : &scalar;
  ncclRedOp_t op{};
  FLEXLINK_TRY(comm_->said(
      "ncclRedOpCreatePreMulSum",
      comm_->api().ncclRedOpCreatePreMulSum(
          &op, at, static_cast<ncclDataType_t>(call.type),
          call.scalarAddress != nullptr ? ncclScalarDevice : ncclScalarHostImmediate, comm)));
  return op;
}

Status VendorLane::enqueue(const Call& call, ncclComm_t comm, cudaStream_t stream) {
  const VendorApi& api = comm_->api();
  auto type = static_cast<ncclDataType_t>(call.type);
  switch (call.kind) {
    case Collective::kSend:
      return comm_->said("ncclSend",
                         api.ncclSend(call.send, call.count, type, call.root, comm, stream));
    case Collective::kRecv:
      return comm_->said("ncclRecv",
                         api.ncclRecv(call.recv, call.count, type, call.root, comm, stream));
    case Collective::kBroadcast:
      return comm_->said("ncclBroadcast", api.ncclBroadcast(call.send, call.recv, call.count, type,
                                                            call.root, comm, stream));
    case Collective::kAllReduce:
    case Collective::kReduce:
      return enqueueFold(call, comm, stream);
    default:
      return strideOf(call) == call.count ? enqueueWhole(call, comm, stream)
                                          : enqueueBlocks(call, comm, stream);
  }
}

Status VendorLane::enqueueFold(const Call& call, ncclComm_t comm, cudaStream_t stream) {
  const VendorApi& api = comm_->api();
  auto type = static_cast<ncclDataType_t>(call.type);
  FLEXLINK_TRY_ASSIGN(ncclRedOp_t op, opOf(call, comm));
  ncclResult_t result =
      call.kind == Collective::kAllReduce
          ? api.ncclAllReduce(call.send, call.recv, call.count, type, op, comm, stream)
      : call.kind == Collective::kReduceScatter
          ? api.ncclReduceScatter(call.send, call.recv, call.count, type, op, comm, stream)
          : api.ncclReduce(call.send, call.recv, call.count, type, op, call.root, comm, stream);
  if (call.op == ReduceOp::kPreMulSum) (void)api.ncclRedOpDestroy(op, comm);
  return comm_->said(collectiveName(call.kind), result);
}

// Blocks that lie one behind the other.
Status VendorLane::enqueueWhole(const Call& call, ncclComm_t comm, cudaStream_t stream) {
  const VendorApi& api = comm_->api();
  auto type = static_cast<ncclDataType_t>(call.type);
  switch (call.kind) {
    case Collective::kReduceScatter:
      return enqueueFold(call, comm, stream);
    case Collective::kAllGather:
      return comm_->said("ncclAllGather",
                         api.ncclAllGather(call.send, call.recv, call.count, type, comm, stream));
    case Collective::kAlltoAll:
      if (api.ncclAlltoAll == nullptr || call.send == call.recv) break;
      return comm_->said("ncclAlltoAll",
                         api.ncclAlltoAll(call.send, call.recv, call.count, type, comm, stream));
    case Collective::kGather:
      if (api.ncclGather == nullptr) break;
      return comm_->said("ncclGather", api.ncclGather(call.send, call.recv, call.count, type,
                                                      call.root, comm, stream));
    case Collective::kScatter:
      if (api.ncclScatter == nullptr) break;
      return comm_->said("ncclScatter", api.ncclScatter(call.send, call.recv, call.count, type,
                                                        call.root, comm, stream));
    default:
      break;
  }
  return enqueueBlocks(call, comm, stream);
}

// An AlltoAll in place sends what it receives into.
const uint8_t* VendorLane::safeSend(const Call& call, size_t at) {
  const auto* from = static_cast<const uint8_t*>(call.send) + at;
  if (call.kind != Collective::kAlltoAll || call.send != call.recv) return from;
  copies_.emplace_back(from, from + bytesOf(call));
  return copies_.back().data();
}

// Blocks that lie apart, which the vendor's own calls cannot say, and what only newer vendors have:
// block by block, in one group.
Status VendorLane::enqueueBlocks(const Call& call, ncclComm_t comm, cudaStream_t stream) {
  const size_t stride = strideOf(call) * typeSize(call.type);
  const bool gathers = call.kind == Collective::kGather;
  const bool scatters = call.kind == Collective::kScatter;
  for (int rank = 0; rank < ranks_; ++rank) {
    const size_t at = static_cast<size_t>(rank) * stride;
    Call part = call;
    part.root = rank;
    if (call.kind == Collective::kAllGather) {
      part.kind = Collective::kBroadcast;
      part.recv = static_cast<uint8_t*>(call.recv) + at;
      FLEXLINK_TRY(enqueue(part, comm, stream));
      continue;
    }
    if (call.kind == Collective::kReduceScatter) {
      part.kind = Collective::kReduce;
      part.send = static_cast<const uint8_t*>(call.send) + at;
      FLEXLINK_TRY(enqueue(part, comm, stream));
      continue;
    }
    if (sendsTo(call, rank_, rank)) {
      part.kind = Collective::kSend;
      part.send = safeSend(call, gathers ? 0 : at);
      FLEXLINK_TRY(enqueue(part, comm, stream));
    }
    if (sendsTo(call, rank, rank_)) {
      part.kind = Collective::kRecv;
      part.recv = static_cast<uint8_t*>(call.recv) + (scatters ? 0 : at);
      FLEXLINK_TRY(enqueue(part, comm, stream));
    }
  }
  return {};
}

// The vendor rings nobody's doorbell.
Progress VendorLane::poll() {
  if (aborted_.ends(&failure_) || !failure_.ok()) return Progress::kFailed;
  if (!running_) return Progress::kDone;
  Status status = enqueued_ ? comm_->done() : comm_->ready();
  if (status.code() == Code::kInProgress) {
    nobodyRings = true;
    return Progress::kWaiting;
  }
  if (!status.ok()) return fail(status);
  if (!enqueued_) {
    enqueued_ = true;
    return Progress::kMoved;
  }
  finish();
  return Progress::kDone;
}

void VendorLane::finish() {
  running_ = false;
  copies_.clear();
  size_t bytes = shown_.endEach(batch_.single, since_, true);
  bytes += shown_.endEach(batch_.collective, since_, false);
  shown_.rest(first());
  operations_.fetch_add(batch_.single.size() + batch_.collective.size(), std::memory_order_relaxed);
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
}

Status VendorLane::check() {
  if (!failure_.ok()) return failure_;
  Status status = comm_->ready();
  if (!status.ok() && status.code() != Code::kInProgress) (void)fail(status);
  return failure_;
}

Progress VendorLane::fail(const Status& status) {
  if (failure_.ok()) failure_ = status;
  comm_->abort();
  return Progress::kFailed;
}

void VendorLane::abort(const Status& reason) {
  aborted_.keep(reason);
  aborted_.show();
  comm_->abort();
}

void VendorLane::probeFailure(const Status& status) {
  if (!running_ || probedFailure_) return;
  probedFailure_ = true;
  probe_->end(first().front().seq, static_cast<uint8_t>(status.code()), kProbeLane);
}

LaneState VendorLane::state() const {
  return {"vendor", operations_.load(std::memory_order_relaxed),
          bytes_.load(std::memory_order_relaxed), -1};
}

}  // namespace flexlink
