// SPDX-License-Identifier: Apache-2.0
#include "comm/side.h"

#include <time.h>

#include <chrono>

#include "base/clock.h"
#include "base/log.h"
#include "base/reactor.h"
#include "base/settings.h"
#include "comm/copies.h"
#include "comm/creation.h"
#include "comm/lane_wish.h"
#include "comm/passed_lanes.h"
#include "device/cuda/devices.h"
#include "lane/vendor/vendor_calls.h"

namespace flexlink {
namespace {

constexpr int64_t kLookNanos = 1'000'000;
// Of blocks, so that two operations of a stream, a microsecond or two each, are 1 % of the vendor's
// time.
constexpr size_t kLeastBytesOnGpu = 32 << 20;
constexpr size_t kLeastBytesOnHost = 1 << 20;
// For the ranks' votes, which control threads give at once; a host may have vanished.
constexpr std::chrono::seconds kVotesTime(10);
// For the reason of a failure that was first seen in the vendor's library.
constexpr std::chrono::milliseconds kCauseTime(200);

void nap() {
  timespec pause{0, 50'000};
  nanosleep(&pause, nullptr);
}

Status hasWhatItTakes(const VendorApi& vendor) {
  FLEXLINK_TRY(VendorCalls::possibleWith(vendor));
  if (vendor.ncclGroupSimulateEnd == nullptr) {
    return makeStatus(Code::kInvalidUsage, "%s is too old: it has no ncclGroupSimulateEnd",
                      vendor.path.c_str());
  }
  const bool counters =
      vendor.flexlinkStreamWriteValue64 != nullptr && vendor.flexlinkStreamWaitValue64 != nullptr;
  if (sidesOnGpu(vendor) || counters) return {};
  return makeStatus(Code::kInvalidUsage, "%s is too old: its streams have no counters",
                    vendor.path.c_str());
}

Result<SideWish> askedFor(const VendorApi& vendor, const LaneWish& wish) {
  PassedLaneFacts facts;
  facts.beside = wish.lanes.size() > 1 && wish.names("vendor");
  facts.fixed = wish.fixed();
  facts.deterministic = settings().deterministic;
  facts.pinned = lookup("NCCL_ALGO") != nullptr || lookup("NCCL_PROTO") != nullptr;
  if (const char* why = whyVendorAlone(facts)) return makeStatus(Code::kInvalidUsage, "%s", why);
  FLEXLINK_TRY(hasWhatItTakes(vendor));
  return SideWish{!wish.fixed(), sharesOf(vendorPart(wish))};
}

Result<SideWish> decideWish(const VendorApi& vendor) {
  Result<LaneWish> lanes = parseLanes(settings().lanes);
  Result<SideWish> wish =
      lanes.ok() ? askedFor(vendor, lanes.value()) : Result<SideWish>(lanes.status());
  if (!wish.ok() && !settings().lanes.empty()) {
    FLEXLINK_WARN("FLEXLINK_LANES=%s: the vendor's library alone carries all: %s",
                  settings().lanes.c_str(), wish.status().text());
  }
  return wish;
}

}  // namespace

const Result<SideWish>& sideWish(const VendorApi& vendor) {
  static const auto* wish = new Result<SideWish>(decideWish(vendor));
  return *wish;
}

Side::Side(const VendorApi& vendor, ncclComm_t comm, SidePlan plan)
    : vendor_(vendor),
      comm_(comm),
      plan_(std::move(plan)),
      board_(std::make_shared<EpochBoard>(plan_.rank, 2, std::nullopt)),
      proxy_(std::make_shared<HostStream>()),
      adapts_(sideWish(vendor).ok() && sideWish(vendor).value().adapts) {}

size_t Side::leastBytes() const { return onGpu() ? kLeastBytesOnGpu : kLeastBytesOnHost; }

// A copy of this library works where it is told to.
bool sidesOnGpu(const VendorApi& vendor) {
  return !vendor.isFlexlink || settings().device == "cuda";
}

Status Side::findGpu(CreationPlan* plan) const {
  if (!sidesOnGpu(vendor_)) return {};
  {
    InsideVendor inside;
    FLEXLINK_TRY(said("ncclCommCuDevice", vendor_.ncclCommCuDevice(comm_, &plan->device)));
  }
  FLEXLINK_TRY_ASSIGN(plan->gpu, cudaDevice(plan->device));
  return plan->gpu->kernels();
}

void Side::start() {
  CreationPlan plan;
  plan.meeting.address = plan_.place.door.address;
  plan.meeting.cookie = plan_.place.door.cookie;
  plan.meeting.mayOpenLate = plan_.place.promised;
  plan.meeting.key = sideMeeting(plan_.place.number);
  plan.meeting.size = static_cast<uint32_t>(plan_.ranks);
  plan.meeting.index = static_cast<uint32_t>(plan_.rank);
  plan.parentHash = plan_.parent;
  plan.config.name = plan_.name.empty() ? "side" : plan_.name + " side";
  Status status = findGpu(&plan);  // may start CUDA: not with the lock
  if (status.ok()) allocateStaging(&plan);
  std::lock_guard<std::mutex> lock(mutex_);
  if (over_ || shell_ != nullptr) return;
  shell_ = newShell();
  if (status.ok()) status = startCreation(shell_, std::move(plan));
  if (status.ok()) {
    return Reactor::instance().value()->post([weak = weak_from_this()] {
      if (auto self = weak.lock()) self->look();
    });
  }
  FLEXLINK_WARN("comm %p: the vendor's library alone carries all: %s", static_cast<void*>(comm_),
                status.text());
  retireShell(std::exchange(shell_, nullptr));
  over_ = true;
}

// On the control thread. The others see no word of a rank that has none: then they do not agree on
// other shares than those of the beginning, by which the vendor carries all.
void Side::look() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (over_) return;
  if (shell_->state.load(std::memory_order_acquire) == ncclComm::State::kConnecting) {
    Reactor::instance().value()->after(kLookNanos, [weak = weak_from_this()] {
      if (auto self = weak.lock()) self->look();
    });
    return;
  }
  std::lock_guard<std::mutex> life(shell_->life);
  if (shell_->impl) return joinEpochs();
  FLEXLINK_WARN("comm %p: the vendor's library alone carries all, not every rank has lanes: %s",
                static_cast<void*>(comm_), shell_->creationFailure.text());
}

// With the locks of look().
void Side::joinEpochs() {
  Result<Meeting> meeting = shell_->impl->epochMeeting();
  if (!meeting.ok()) return;
  FLEXLINK_INFO(kInit, "comm %p rank %d of %d: beside the vendor there is lane %s",
                static_cast<void*>(comm_), plan_.rank, plan_.ranks,
                shell_->impl->laneText().c_str());
  if (!adapts_) {
    std::lock_guard<std::mutex> board(board_->mutex);
    board_->epochs.ask(sideWish(vendor_).value().shares);
  }
  epochs_ = EpochMeeting::join(meeting.value(), board_);
}

Result<Split> Side::cut(const Call& call, uint32_t* epoch) {
  const Deadline deadline = Deadline::after(kVotesTime);
  for (;;) {
    FLEXLINK_TRY(failure());
    if (std::optional<Split> slices = cutNext(board_.get(), call, epoch)) return *slices;
    Status broken;
    {
      std::lock_guard<std::mutex> lock(board_->mutex);
      broken = board_->broken;
    }
    if (broken.ok() && deadline.passed()) {
      broken = makeStatus(Code::kRemote,
                          "rank %d of %d waited %lld s for the others' votes on the shares of the "
                          "lanes, at %s",
                          plan_.rank, plan_.ranks, static_cast<long long>(kVotesTime.count()),
                          plan_.place.door.address.text().c_str());
    }
    broken.ok() ? nap() : giveUp(broken);
  }
}

Status Side::said(const char* call, ncclResult_t result) const {
  if (result == ncclSuccess) return {};
  return makeStatus(static_cast<Code>(result), "%s of the vendor's library: %s", call,
                    vendor_.ncclGetLastError(nullptr));
}

bool Side::lanesThere() const {
  const ncclComm* ours = shell();
  return ours != nullptr && ours->state.load(std::memory_order_acquire) == ncclComm::State::kReady;
}

Result<bool> Side::recorded(cudaStream_t stream) const {
  const ncclComm* ours = shell();
  if (ours == nullptr || ours->gpu == nullptr) return false;
  return ours->gpu->capturing(stream);
}

Result<StreamMirror*> Side::mirrorOf(cudaStream_t stream) const {
  const ncclComm* ours = shell();
  if (ours == nullptr) return makeStatus(Code::kInvalidUsage, "the communicator is gone");
  if (ours->gpu == nullptr) return StreamMirror::of(vendor_, stream);
  return StreamMirror::of(ours->gpu, stream);
}

Status Side::enter(std::vector<SideCall> calls, const std::vector<cudaStream_t>& streams) {
  FLEXLINK_TRY(failure());
  mirrors_.clear();
  times_.reset();
  const bool timed = adapts_ && calls.size() == 1 && streams.size() == 1;
  const SideCall first = timed ? calls.front() : SideCall();
  std::erase_if(calls, [](const SideCall& call) { return call.part.count == 0; });
  submitted_ = !calls.empty();
  for (cudaStream_t stream : streams) {
    FLEXLINK_TRY_ASSIGN(StreamMirror * mirror, mirrorOf(stream));
    FLEXLINK_TRY(mirror->begin());
    proxy_->addWait(mirror->order(), mirror->order()->last());
    mirrors_.push_back(mirror);
  }
  if (timed) timeCall(first);
  if (!submitted_) return {};
  Status submitted = submitBatch(std::move(calls));
  if (!submitted.ok()) giveUp(submitted);
  return submitted;
}

// Our part, if there is one, will be the next on our stream.
void Side::timeCall(const SideCall& call) {
  times_ = SideTimes::of(submitted_, [board = board_, call](const std::array<double, 2>& seconds) {
    tellMeasured(board.get(), call.operationClass, call.epoch, call.bytes, seconds);
  });
  const std::shared_ptr<HostStream>& order = mirrors_.front()->order();
  order->notify(order->last(), SideTimes::listener(),
                SideTimes::argument(times_, SideTimes::Event::kBegun));
}

Status Side::submitBatch(std::vector<SideCall> calls) {
  while (!kept_.empty() && kept_.front().ticket <= proxy_->finished()) kept_.pop_front();
  Kept& kept = kept_.emplace_back(Kept{UINT64_MAX, std::move(calls)});
  auto pending = std::make_unique<PendingBatch>();
  for (SideCall& call : kept.calls) {
    call.part.whole = &call.whole;
    pending->batch.collective.push_back(call.part);
  }
  pending->fences.push_back({proxy_, proxy_->last(), 0});
  ncclComm* ours = shell();
  if (ours == nullptr) return makeStatus(Code::kInvalidUsage, "the communicator is gone");
  FLEXLINK_TRY(submit(ours, std::move(pending), Adoption::kAtOnce));
  kept.ticket = proxy_->last();
  proxy_->notify(kept.ticket, batchEnded, new std::weak_ptr<Side>(weak_from_this()));
  if (times_ == nullptr) return {};
  proxy_->notify(kept.ticket, SideTimes::listener(),
                 SideTimes::argument(times_, SideTimes::Event::kOurs));
  return {};
}

// By whoever ends it, with the lock of our communicator. A failure also ends the vendor's part of
// the call, in which the program's thread may be waiting for a rank that has given up.
void Side::batchEnded(void* weakSelf) {
  std::unique_ptr<std::weak_ptr<Side>> held(static_cast<std::weak_ptr<Side>*>(weakSelf));
  std::shared_ptr<Side> self = held->lock();
  if (!self) return;
  Status error = self->proxy_->error();
  if (!error.ok() && self->noteFailure(error)) self->revokeSoon();
}

// On the control thread, for the caller may hold locks.
void Side::revokeSoon() {
  Reactor::instance().value()->post([weak = weak_from_this()] {
    if (auto side = weak.lock()) side->revokeVendor();
  });
}

void Side::revokeVendor() {
  std::lock_guard<std::mutex> lock(vendorMutex_);
  if (!vendorThere_ || vendor_.ncclCommRevoke == nullptr) return;
  InsideVendor inside;
  (void)vendor_.ncclCommRevoke(comm_, NCCL_REVOKE_DEFAULT);
}

// kInProgress: it is at it.
Status Side::askVendor() {
  std::lock_guard<std::mutex> lock(vendorMutex_);
  if (!vendorThere_) return failure();
  InsideVendor inside;
  ncclResult_t state = ncclSuccess;
  FLEXLINK_TRY(said("ncclCommGetAsyncError", vendor_.ncclCommGetAsyncError(comm_, &state)));
  if (state == ncclInProgress) return Status::inProgress();
  return said("a call", state);
}

Status Side::awaitVendor() {
  Status vendors = askVendor();
  while (vendors.code() == Code::kInProgress) {
    nap();
    vendors = askVendor();
  }
  if (vendors.ok()) return {};
  Status own = cause();
  return own.ok() ? vendors : own;
}

Status Side::leave() {
  if (times_ != nullptr) {
    FLEXLINK_TRY(mirrors_.front()->mark(
        SideTimes::listener(), SideTimes::argument(std::move(times_), SideTimes::Event::kVendors)));
  }
  if (!submitted_) return {};
  for (StreamMirror* mirror : mirrors_) {
    mirror->order()->addWait(proxy_, proxy_->last());
    FLEXLINK_TRY(mirror->end());
  }
  return {};
}

Status Side::wait() {
  FLEXLINK_TRY(Engine::waitStream(*proxy_, proxy_->last(), Deadline::never()));
  return failure();
}

Status Side::cause() {
  const Deadline deadline = Deadline::after(kCauseTime);
  Status status = failure();
  for (; status.ok() && !deadline.passed(); nap()) {
    ncclComm* ours = shell();
    if (ours != nullptr && ours->tryLock()) {
      if (ours->impl) status = ours->impl->lookAtPeers();
      ours->unlock();
    }
    if (status.ok()) status = failure();
  }
  return status;
}

// Whoever aborts meanwhile takes our communicator away when nothing of it is under way any more.
void Side::awaitQuiet() {
  for (;; nap()) {
    ncclComm* ours = shell();
    if (ours == nullptr || ours->work.load(std::memory_order_seq_cst) == 0) return;
  }
}

ncclComm* Side::shell() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return shell_;
}

Status Side::failure() const {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!failure_.ok()) return failure_;
  }
  return proxy_->error();
}

// Is it the first?
bool Side::noteFailure(const Status& status) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!failure_.ok()) return false;
  failure_ = status;
  return true;
}

void Side::fail(const Status& reason) {
  (void)noteFailure(reason);
  ncclComm* ours = shell();
  if (ours == nullptr) return;
  std::lock_guard<std::mutex> life(ours->life);
  if (ours->impl) ours->impl->giveUp(reason);
}

// Peers may be in a call that the vendor carries alone: they hear of it there.
void Side::giveUp(const Status& reason) {
  const bool first = noteFailure(reason);
  fail(reason);
  if (first) revokeSoon();
}

// From now on it is nobody else's; null: there is nothing to end.
ncclComm* Side::close() {
  ncclComm* ours = nullptr;
  std::shared_ptr<EpochMeeting> epochs;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    over_ = true;
    ours = std::exchange(shell_, nullptr);
    epochs = std::move(epochs_);
  }
  if (epochs) Reactor::instance().value()->postAndWait([&] { epochs->leave(); });
  return ours;
}

// Afterwards none of ours calls it with the communicator.
void Side::letVendorGo() {
  std::lock_guard<std::mutex> lock(vendorMutex_);
  vendorThere_ = false;
}

void Side::abort() {
  (void)noteFailure(makeStatus(Code::kInvalidUsage, "ncclCommAbort was called"));
  letVendorGo();
  if (ncclComm* ours = close()) abortShell(ours);
}

void Side::destroy() {
  ncclComm* ours = close();
  if (ours != nullptr && ours->state.load(std::memory_order_acquire) == ncclComm::State::kReady) {
    destroyShell(ours, [](Communicator& comm) { comm.drainOrFail(); });
  } else if (ours != nullptr) {
    abortShell(ours);
  }
  letVendorGo();
}

}  // namespace flexlink
