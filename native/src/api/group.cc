// SPDX-License-Identifier: Apache-2.0
#include "api/group.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "api/export.h"
#include "api/handles.h"
#include "comm/creation.h"
#include "engine/stream_mirror.h"

namespace flexlink {
namespace {

struct GroupedCall {
  ncclComm* shell;
  Call call;
  CallStream stream;
};

struct GroupedCreation {
  ncclComm* shell;
  ncclComm_t* handle;
};

struct Group {
  int depth = 0;
  std::vector<GroupedCall> calls;
  std::vector<GroupedCreation> creations;
  Status error;  // of the first call that failed
};

// Of the calling thread; made by its first group.
thread_local std::unique_ptr<Group> group;

// Most groups are small, and then one allocation does.
constexpr size_t kFewCalls = 4;

template <typename T>
void append(std::vector<T>* to, T one) {
  if (to->empty()) to->reserve(kFewCalls);
  to->push_back(std::move(one));
}

void addTo(Batch* batch, const Call& call) {
  append(isCollective(call.kind) ? &batch->collective : &batch->single, call);
}

// One communicator's part of a group.
struct Part {
  ncclComm* shell;
  std::unique_ptr<PendingBatch> pending = std::make_unique<PendingBatch>();
  std::vector<std::shared_ptr<HostStream>> streams;
  std::vector<StreamMirror*> mirrors;  // of those of a GPU
  bool blocks = false;
  bool async = false;
};

Status runNow(ncclComm* shell, const Call& call) {
  ShellLock lock(shell);
  if (!shell->impl) return makeStatus(Code::kInvalidArgument, "the communicator was destroyed");
  if (isCollective(call.kind)) return shell->impl->runNow(call);
  Batch batch;
  addTo(&batch, call);
  return shell->impl->runNow(&batch);
}

std::shared_ptr<HostStream> ownStreamOf(ncclComm* shell) {
  std::lock_guard<std::mutex> lock(shell->life);
  if (!shell->impl) return nullptr;
  if (!shell->impl->ownStream) shell->impl->ownStream = std::make_shared<HostStream>();
  return shell->impl->ownStream;
}

// The NULL stream of a non-blocking communicator is a stream of its own: the call must not wait.
Status placeOnStream(Part* part, CallStream stream, bool blocking) {
  if (!stream.order && blocking) {
    part->blocks = true;
    return {};
  }
  if (!stream.order) {
    part->async = true;
    stream.order = ownStreamOf(part->shell);
    if (!stream.order) return makeStatus(Code::kInvalidArgument, "the communicator was destroyed");
  }
  if (std::find(part->streams.begin(), part->streams.end(), stream.order) == part->streams.end()) {
    part->streams.push_back(std::move(stream.order));
    if (stream.mirror != nullptr) part->mirrors.push_back(stream.mirror);
  }
  return {};
}

Status enqueuePart(Part* part, const std::shared_ptr<Completion>& completion) {
  if (part->blocks) {
    completion->left.fetch_add(1, std::memory_order_relaxed);
    part->pending->completion = completion;
  }
  // A GPU's stream says nothing, and ours that stands for NULL nothing to the program.
  part->pending->unheard = part->async || part->shell->gpu != nullptr;
  const Adoption how = part->blocks                  ? Adoption::kNone
                       : part->shell->gpu == nullptr ? Adoption::kSoon
                                                     : Adoption::kAtOnce;
  return submit(part->shell, std::move(part->pending), how);
}

Status endFences(const Part& part) {
  for (StreamMirror* mirror : part.mirrors) FLEXLINK_TRY(mirror->end());
  return {};
}

Status driveUntilDone(std::vector<Part>& parts, Completion& completion) {
  Waiter waiter(waitPolicy(false));
  auto driveAll = [&](bool look) {
    bool moved = false;
    for (Part& part : parts) {
      moved = part.shell->drive(part.shell, look) == DriveResult::kMoved || moved;
    }
    return moved;
  };
  while (completion.left.load(std::memory_order_seq_cst) != 0) {
    if (driveAll(waiter.lookDue())) {
      waiter.moved();
      continue;
    }
    waiter.idle(myDoorbell(), [&] {
      return completion.left.load(std::memory_order_seq_cst) != 0 && !driveAll(false);
    });
  }
  std::lock_guard<std::mutex> lock(completion.mutex);
  return completion.first;
}

Status issueParts(std::vector<Part>& parts) {
  // The start fences of all parts are taken before any part is added: parts do not wait for each
  // other.
  bool anyBlocks = false;
  bool anyAsync = false;
  for (Part& part : parts) {
    anyBlocks = anyBlocks || part.blocks;
    anyAsync = anyAsync || part.async;
    for (StreamMirror* mirror : part.mirrors) FLEXLINK_TRY(mirror->begin());
    for (const auto& stream : part.streams)
      part.pending->fences.push_back({stream, stream->last(), 0});
  }
  if (parts.size() == 1 && parts[0].blocks && parts[0].streams.empty()) {
    ShellLock lock(parts[0].shell);
    if (!parts[0].shell->impl)
      return makeStatus(Code::kInvalidArgument, "the communicator was destroyed");
    return parts[0].shell->impl->runNow(&parts[0].pending->batch);
  }
  auto completion = std::make_shared<Completion>();
  Status status;
  for (Part& part : parts) {
    Status enqueued = enqueuePart(&part, completion);
    if (enqueued.ok()) enqueued = endFences(part);
    if (enqueued.ok()) continue;
    if (part.blocks) completion->left.fetch_sub(1, std::memory_order_relaxed);
    if (status.ok()) status = enqueued;
  }
  if (anyBlocks) {
    Status done = driveUntilDone(parts, *completion);
    if (status.ok()) status = done;
  }
  return status.ok() && anyAsync ? Status::inProgress() : status;
}

Part* partOf(std::vector<Part>* parts, ncclComm* shell) {
  for (Part& part : *parts) {
    if (part.shell == shell) return &part;
  }
  parts->push_back(Part{});
  parts->back().shell = shell;
  return &parts->back();
}

Status issueCalls(std::vector<GroupedCall> calls) {
  std::vector<Part> parts;
  for (GroupedCall& each : calls) {
    Part* part = partOf(&parts, each.shell);
    addTo(&part->pending->batch, each.call);
    FLEXLINK_TRY(placeOnStream(part, std::move(each.stream), each.shell->blocking));
  }
  return parts.empty() ? Status() : issueParts(parts);
}

// One thread does the work of all of them, one after the other.
Status estimateCalls(const std::vector<GroupedCall>& calls, double* seconds) {
  *seconds = 0;
  for (const GroupedCall& each : calls) {
    std::lock_guard<std::mutex> lock(each.shell->life);
    if (!each.shell->impl)
      return makeStatus(Code::kInvalidArgument, "the communicator was destroyed");
    FLEXLINK_TRY(each.shell->impl->usable());
    *seconds += each.shell->impl->estimate(each.call);
  }
  return {};
}

Status awaitCreations(const std::vector<GroupedCreation>& creations) {
  Status first;
  bool async = false;
  for (const GroupedCreation& each : creations) {
    async = async || !each.shell->blocking;
    if (!each.shell->blocking) continue;
    Status status = awaitCreation(each.shell);
    if (!status.ok() || each.handle == nullptr) retireShell(each.shell);
    if (!status.ok() && each.handle != nullptr) *each.handle = nullptr;
    if (!status.ok() && first.ok()) first = status;
  }
  return first.ok() && async ? Status::inProgress() : first;
}

}  // namespace

Status issue(ncclComm* shell, const Call& call, cudaStream_t stream) {
  bool grouped = group && group->depth > 0;
  if (!grouped && stream == nullptr && shell->blocking && shell->gpu == nullptr) {
    return runNow(shell, call);
  }
  FLEXLINK_TRY_ASSIGN(CallStream place, checkedStream(shell, stream));
  if (grouped) {
    append(&group->calls, GroupedCall{shell, call, std::move(place)});
    return {};
  }
  std::vector<GroupedCall> calls;
  calls.push_back({shell, call, std::move(place)});
  return issueCalls(std::move(calls));
}

Status issueCreation(ncclComm* shell, ncclComm_t* handle) {
  if (group && group->depth > 0) {
    group->creations.push_back({shell, handle});
    return {};
  }
  return awaitCreations({{shell, handle}});
}

Status noteInGroup(Status status) {
  bool failed = !status.ok() && status.code() != Code::kInProgress;
  if (failed && group && group->depth > 0 && group->error.ok()) group->error = status;
  return status;
}

Status groupStart() {
  if (inForkedChild()) return makeStatus(Code::kInvalidUsage, "ncclGroupStart in a forked child");
  if (!group) group = std::make_unique<Group>();
  ++group->depth;
  return {};
}

Status groupEnd() {
  if (!group || group->depth == 0) {
    return makeStatus(Code::kInvalidUsage, "ncclGroupEnd: not in a group call.");
  }
  if (--group->depth > 0) return {};
  std::unique_ptr<Group> whole = std::make_unique<Group>();
  std::swap(whole, group);
  Status created = awaitCreations(whole->creations);
  if (!whole->error.ok()) return whole->error;
  if (!created.ok() && created.code() != Code::kInProgress) return created;
  Status issued = issueCalls(std::move(whole->calls));
  return issued.ok() ? created : issued;
}

Status groupSimulate(double* seconds) {
  if (!group || group->depth == 0) {
    return makeStatus(Code::kInvalidUsage, "ncclGroupSimulateEnd: not in a group call.");
  }
  if (--group->depth > 0) return {};
  std::unique_ptr<Group> whole = std::make_unique<Group>();
  std::swap(whole, group);
  Status created = awaitCreations(whole->creations);
  FLEXLINK_TRY(whole->error);
  if (seconds != nullptr) FLEXLINK_TRY(estimateCalls(whole->calls, seconds));
  return created;
}

}  // namespace flexlink

FLEXLINK_API(ncclResult_t, ncclGroupStart, (void)) {
  return flexlink::guarded([] { return flexlink::groupStart(); });
}

FLEXLINK_API(ncclResult_t, ncclGroupEnd, (void)) {
  return flexlink::guarded([] { return flexlink::groupEnd(); });
}

FLEXLINK_API(ncclResult_t, ncclGroupSimulateEnd, (ncclSimInfo_t * simInfo)) {
  return flexlink::guarded([&]() -> flexlink::Status {
    using namespace flexlink;
    if (simInfo != nullptr && (simInfo->magic != 0x74685283 || simInfo->size < sizeof *simInfo)) {
      return makeStatus(Code::kInvalidArgument,
                        "ncclSimInfo_t was not initialized via NCCL_SIM_INFO_INITIALIZER");
    }
    double seconds = 0;
    Status status = groupSimulate(simInfo == nullptr ? nullptr : &seconds);
    bool known = status.ok() || status.code() == Code::kInProgress;
    if (known && simInfo != nullptr) simInfo->estimatedTime = static_cast<float>(seconds * 1e6);
    return status;
  });
}
