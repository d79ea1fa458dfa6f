// SPDX-License-Identifier: Apache-2.0
#include "api/cut_calls.h"

#include <time.h>

#include <algorithm>

#include "api/export.h"
#include "api/forward.h"
#include "lane/call_text.h"
#include "lane/vendor/vendor_calls.h"

namespace flexlink {
namespace {

bool good(ncclResult_t result) { return result == ncclSuccess || result == ncclInProgress; }

// What the vendor's own functions can say of a slice, but for an AlltoAll: in place it would need a
// copy of what it sends, in the order of the stream.
bool mayCut(Collective kind) {
  return kind == Collective::kAllReduce || kind == Collective::kBroadcast ||
         kind == Collective::kReduce || kind == Collective::kAllGather ||
         kind == Collective::kReduceScatter;
}

bool goodConfig(const ncclCollConfig_t* config) {
  constexpr size_t kFirstSize = 64;  // of ncclCollConfig_t in 2.31, its first version
  return config == nullptr || (config->size >= kFirstSize && config->magic == NCCL_API_MAGIC);
}

// Would the vendor take it? To what it refuses it gives the answer itself.
bool valid(const PassedCall& call, const Side& side) {
  const bool root = !isRooted(call.kind) || call.root == side.rank();
  const bool needsSend = call.kind != Collective::kBroadcast || root;
  const bool needsRecv = call.kind != Collective::kReduce || root;
  if ((needsSend && call.send == nullptr) || (needsRecv && call.recv == nullptr)) return false;
  if (isRooted(call.kind) && (call.root < 0 || call.root >= side.ranks())) return false;
  return goodConfig(call.config);
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
  if (stream == nullptr) {
    part->blocks = true;
  } else if (std::find(part->streams.begin(), part->streams.end(), stream) == part->streams.end()) {
    part->streams.push_back(stream);
  }
}

// The NULL stream of a non-blocking communicator is one that nobody can fence: the call waits for
// what lies on it.
void CutCalls::settle(const Part& part) const {
  if (!part.blocks) return;
  ncclResult_t state = ncclInProgress;
  for (;;) {
    {
      InsideVendor inside;
      if (vendor_.ncclCommGetAsyncError(part.side->comm(), &state) != ncclSuccess) return;
    }
    if (state != ncclInProgress) return;
    timespec pause{0, 50'000};
    nanosleep(&pause, nullptr);
  }
}

Status CutCalls::enter() {
  for (Part& part : parts_) {
    settle(part);
    FLEXLINK_TRY(part.side->enter(std::move(part.calls), part.streams));
  }
  return {};
}

void CutCalls::giveUp(const Status& reason) {
  for (const Part& part : parts_) part.side->giveUp(reason);
}

Status CutCalls::leaveAll(const Part& part) const {
  FLEXLINK_TRY(part.side->leave(part.streams));
  if (!part.blocks) return {};
  settle(part);
  return part.side->wait();
}

ncclResult_t CutCalls::leave(ncclResult_t vendors) {
  if (!good(vendors)) {
    Status own;  // the cause, where it is ours
    for (const Part& part : parts_) own = own.ok() ? part.side->cause() : own;
    giveUp(makeStatus(static_cast<Code>(vendors), "the vendor's part of the call has failed"));
    return own.ok() ? vendors : ourResult(own);
  }
  Status first;
  bool blocks = false;
  for (const Part& part : parts_) {
    Status status = leaveAll(part);
    if (first.ok()) first = status;
    blocks = blocks || part.blocks;
  }
  if (!first.ok()) return ourResult(first);
  return blocks ? ncclSuccess : vendors;
}

Cutting::Cutting(const VendorApi& vendor, std::shared_ptr<Side> side,
                 const PassedCall& call) noexcept
    : vendor_(vendor), side_(std::move(side)), stream_(call.stream) {
  vendors_.count = call.count;
  if (!side_) return;
  try {
    failed_ = side_->failure();
    if (failed_.ok()) failed_ = cut(call);
  } catch (...) {
    failed_ = makeStatus(Code::kSystem, "no memory to cut a call");
  }
  if (!failed_.ok()) whole_ = false;
}

Status Cutting::cut(const PassedCall& passed) {
  Call call;
  if (!toCall(passed, *side_, &call)) return {};
  FLEXLINK_TRY_ASSIGN(Split slices, side_->cut(call));
  if (slices.count == 1 && slices.slices[0].lane == 0) return {};
  whole_ = false;
  vendors_ = call;
  vendors_.count = 0;
  const size_t element = typeSize(call.type);
  for (const Slice& slice : slices) {
    Call part = sliceOf(call, slice.offset / element, slice.length / element, nullptr);
    if (slice.lane == 0) vendors_ = part;
    if (slice.lane == 1) ours_ = {part, {packSignature(call), call.count}};
  }
  return {};
}

ncclResult_t Cutting::callVendor() const {
  if (vendors_.count == 0) return ncclSuccess;
  VendorCalls calls(vendor_, side_->rank(), side_->ranks());
  InsideVendor inside;
  const VendorCalls::Place place{side_->comm(), stream_};
  if (!calls.several(vendors_)) return calls.make(vendors_, place);
  ncclResult_t started = vendor_.ncclGroupStart();
  if (started != ncclSuccess) return started;
  ncclResult_t called = calls.make(vendors_, place);
  ncclResult_t ended = vendor_.ncclGroupEnd();
  return good(called) ? ended : called;
}

ncclResult_t Cutting::run() noexcept {
  try {
    return failed_.ok() ? runBoth() : ourResult(failed_);
  } catch (...) {
    return resultOfException();
  }
}

ncclResult_t Cutting::runBoth() {
  if (CutCalls* group = cutsOfGroup(vendor_)) {
    group->add(side_, ours_, stream_);
    ncclResult_t result = callVendor();
    if (!good(result)) lastFailureIsOurs = false;
    return result;
  }
  CutCalls alone(vendor_);
  alone.add(side_, ours_, stream_);
  Status entered = alone.enter();
  if (!entered.ok()) {
    alone.giveUp(entered);
    return ourResult(entered);
  }
  ncclResult_t result = callVendor();
  if (!good(result)) lastFailureIsOurs = false;
  return alone.leave(result);
}

}  // namespace flexlink
