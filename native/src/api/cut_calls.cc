// SPDX-License-Identifier: Apache-2.0
#include "api/cut_calls.h"

#include <algorithm>
#include <new>

#include "api/config.h"
#include "api/export.h"
#include "api/forward.h"
#include "api/forward_life.h"
#include "lane/call_text.h"
#include "lane/vendor/vendor_calls.h"

namespace flexlink {
namespace {

// What the vendor's own functions can say of a slice, but for an AlltoAll: in place it would need a
// copy of what it sends, in the order of the stream.
bool mayCut(Collective kind) {
  return kind == Collective::kAllReduce || kind == Collective::kBroadcast ||
         kind == Collective::kReduce || kind == Collective::kAllGather ||
         kind == Collective::kReduceScatter;
}

// Would the vendor take it? To what it refuses it gives the answer itself.
bool valid(const PassedCall& call, const Side& side) {
  const bool root = !isRooted(call.kind) || call.root == side.rank();
  const bool needsSend = call.kind != Collective::kBroadcast || root;
  const bool needsRecv = call.kind != Collective::kReduce || root;
  if ((needsSend && call.send == nullptr) || (needsRecv && call.recv == nullptr)) return false;
  if (isRooted(call.kind) && (call.root < 0 || call.root >= side.ranks())) return false;
  return checkCollConfig(call.config).ok();
}

// The same answer on all ranks, for calls that are valid on all.
bool toCall(const PassedCall& passed, const Side& side, Call* call) {
  const bool plain = !folds(passed.kind) || (passed.op >= 0 && passed.op < ncclNumOps);
  const bool typed = passed.type >= 0 && passed.type < kDataTypes;
  if (!mayCut(passed.kind) || !plain || !typed || passed.count == 0 || side.ranks() < 2) {
    return false;
  }
  if (!valid(passed, side)) return false;
  call->kind = passed.kind;
  call->type = static_cast<DataType>(passed.type);
  call->op = folds(passed.kind) ? static_cast<ReduceOp>(passed.op) : ReduceOp::kSum;
  call->root = std::max(passed.root, 0);
  call->send = passed.send;
  call->recv = const_cast<void*>(passed.recv);
  call->count = passed.count;
  return true;
}

}  // namespace

ncclResult_t ourResult(const Status& status) noexcept {
  lastFailureIsOurs = true;
  return resultOf(status);
}

void CutCalls::add(const std::shared_ptr<Side>& side, SideCall call, cudaStream_t stream) {
  auto part = std::find_if(parts_.begin(), parts_.end(),
                           [&](const Part& each) { return each.side == side; });
  if (part == parts_.end()) {
    parts_.emplace_back().side = side;
    part = parts_.end() - 1;
  }
  part->calls.push_back(call);
  if (stream == nullptr && !side->onGpu()) {
    part->blocks = true;
  } else if (std::find(part->streams.begin(), part->streams.end(), stream) == part->streams.end()) {
    part->streams.push_back(stream);
  }
}

ncclResult_t CutCalls::enter() noexcept {
  return guarded([&]() -> ncclResult_t {
    Status status = makeStatus(Code::kSystem, "no memory for the calls of a group");
    try {
      status = enterAll();
    } catch (const std::bad_alloc&) {  // said
    }
    if (status.ok()) return ncclSuccess;
    for (const Part& part : parts_) giveUp(part, status);
    return ourResult(status);
  });
}

// The NULL stream of a non-blocking communicator is one that nobody can fence: first what lies on
// it has to be over.
Status CutCalls::enterAll() {
  for (const Part& part : parts_) {
    if (part.blocks) FLEXLINK_TRY(part.side->awaitVendor());
  }
  for (Part& part : parts_) FLEXLINK_TRY(part.side->enter(std::move(part.calls), part.streams));
  return {};
}

// Who waits on stream NULL may free the buffers when the call returns.
void CutCalls::giveUp(const Part& part, const Status& reason) {
  part.side->giveUp(reason);
  if (part.blocks) part.side->awaitQuiet();
}

ncclResult_t CutCalls::leave(ncclResult_t vendors) noexcept {
  return guarded([&]() -> ncclResult_t {
    if (!taken(vendors)) return vendorFailed(vendors);
    Status first;
    bool blocks = false;
    for (const Part& part : parts_) {
      Status status = leavePart(part);
      if (first.ok()) first = status;
      blocks = blocks || part.blocks;
    }
    if (!first.ok()) return ourResult(first);
    return blocks ? ncclSuccess : vendors;
  });
}

Status CutCalls::leavePart(const Part& part) {
  Status status = part.side->leave();
  if (status.ok() && part.blocks) status = part.side->awaitVendor();
  if (!status.ok()) {
    giveUp(part, status);
    return status;
  }
  return part.blocks ? part.side->wait() : Status();
}

ncclResult_t CutCalls::vendorFailed(ncclResult_t vendors) const {
  Status own;  // the cause, where it is ours
  for (const Part& part : parts_) own = own.ok() ? part.side->cause() : own;
  const Status reason =
      own.ok() ? makeStatus(static_cast<Code>(vendors), "the vendor's part of the call has failed")
               : own;
  for (const Part& part : parts_) giveUp(part, reason);
  return own.ok() ? vendors : ourResult(own);
}

Cutting::Cutting(const VendorApi& vendor, std::shared_ptr<Side> side,
                 const PassedCall& call) noexcept
    : vendor_(vendor), side_(std::move(side)), stream_(call.stream) {
  vendors_.count = call.count;
  try {
    Status status = side_->failure();
    if (status.ok()) status = cut(call);
    if (!status.ok()) failed_ = ourResult(status);
  } catch (...) {
    failed_ = resultOfException();
  }
  if (failed_ != ncclSuccess) whole_ = false;
}

Status Cutting::cut(const PassedCall& passed) {
  Call call;
  if (!toCall(passed, *side_, &call)) return {};
  FLEXLINK_TRY_ASSIGN(const bool recorded, side_->recorded(passed.stream));
  if (recorded || (side_->adapts() && bytesOf(call) < side_->leastBytes())) return {};
  FLEXLINK_TRY_ASSIGN(Split slices, side_->cut(call, &ours_.epoch));
  const bool alone = slices.count == 1 && slices.slices[0].lane == 0;
  if (alone && !(side_->adapts() && side_->lanesThere())) return {};
  whole_ = false;
  vendors_ = call;
  vendors_.count = 0;
  const size_t element = typeSize(call.type);
  for (const Slice& slice : slices) {
    Call part = sliceOf(call, slice.offset / element, slice.length / element, nullptr);
    if (slice.lane == 0) vendors_ = part;
    if (slice.lane == 1) ours_.part = part;
    ours_.bytes[static_cast<size_t>(slice.lane)] = static_cast<double>(slice.length);
  }
  ours_.whole = {packSignature(call), call.count};
  ours_.operationClass = operationClass(call.kind, bytesOf(call));
  return {};
}

// A lone call is a group of one: the vendor looks at its part before ours begins.
ncclResult_t Cutting::run() noexcept {
  if (failed_ != ncclSuccess) return failed_;
  if (CutCalls* group = cutsOfGroup()) return callInGroup(group);
  ncclResult_t started = life::ncclGroupStart();
  if (started != ncclSuccess) return started;
  ncclResult_t called = callInGroup(cutsOfGroup());
  if (!taken(called)) failGroup(vendor_, called);
  ncclResult_t ended = life::ncclGroupEnd();
  return taken(called) ? ended : called;
}

ncclResult_t Cutting::callInGroup(CutCalls* group) noexcept {
  return guarded([&]() -> ncclResult_t {
    group->add(side_, ours_, stream_);
    if (vendors_.count == 0) return ncclSuccess;
    VendorCalls calls(vendor_, side_->rank(), side_->ranks());
    InsideVendor inside;
    ncclResult_t result = calls.make(vendors_, {side_->comm(), stream_});
    if (!taken(result)) lastFailureIsOurs = false;
    return result;
  });
}

// Once our lanes have failed, the vendor's communicator is revoked: that is not the reason.
ncclResult_t Cutting::causeOf(ncclResult_t failed) const noexcept {
  return guarded([&]() -> ncclResult_t {
    Status own = side_->failure();
    return own.ok() ? failed : ourResult(own);
  });
}

}  // namespace flexlink
