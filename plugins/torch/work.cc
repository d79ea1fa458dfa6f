// SPDX-License-Identifier: Apache-2.0
#include "work.h"

#include <ATen/record_function.h>
#include <c10/util/Exception.h>

#include "finisher.h"

namespace flexlink::pytorch {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr microseconds kNoLimit{-1};

// c10d asks for an object per operation where it hears a title, whether or not anybody profiles.
const char* titleForProfiler(const WorkInfo& info) {
  return at::hasCallbacks() ? info.title : nullptr;
}

// The parts are.
WorkInfo unrecorded(WorkInfo info) {
  info.group = nullptr;
  return info;
}

}  // namespace

std::exception_ptr backendError(const std::string& text) {
  try {
    C10_THROW_ERROR(DistBackendError, text);
  } catch (...) {
    return std::current_exception();
  }
}

c10d::WorkResult resultOf(ncclResult_t code) {
  if (code == ncclSuccess) return c10d::WorkResult::SUCCESS;
  return code == ncclTimeout ? c10d::WorkResult::TIMEOUT : c10d::WorkResult::COMM_ERROR;
}

Work::Work(const WorkInfo& info, std::vector<at::Tensor> inputs, std::vector<at::Tensor> outputs)
    : c10d::Work(info.rank, info.type, titleForProfiler(info), inputs),
      info_(info),
      record_(FlightRecord::instance().begin(info, inputs, outputs)),
      inputs_(std::move(inputs)),
      outputs_(std::move(outputs)) {}

bool Work::isCompleted() { return advance(microseconds(0)); }

bool Work::isSuccess() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return completed_ && exception_ == nullptr;
}

std::exception_ptr Work::exception() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return exception_;
}

c10d::WorkResult Work::outcome() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return result_;
}

bool Work::wait(milliseconds timeout) {
  milliseconds limit = timeout == kNoTimeout ? info_.timeout : timeout;
  bool done = advance(limit.count() > 0 ? microseconds(limit) : kNoLimit);
  if (!done) {
    writeRecord();
    C10_THROW_ERROR(DistBackendError,
                    "flexlink: rank " + std::to_string(info_.rank) + " timed out after " +
                        std::to_string(limit.count()) + " ms waiting for " + info_.name +
                        " (operation " + std::to_string(info_.seq) + " of its group)." + awaited());
  }
  std::exception_ptr failure = exception();
  if (failure) std::rethrow_exception(failure);
  return true;
}

void Work::conclude(std::exception_ptr failure, c10d::WorkResult result) {
  c10::intrusive_ptr<c10::ivalue::Future> future, futureResult;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (completed_) return;
    completed_ = true;
    exception_ = failure;
    result_ = result;
    ended_.store(true, std::memory_order_release);
    future = future_;
    futureResult = futureResult_;
    inputs_.clear();
    if (recordFunctionEndCallback_) recordFunctionEndCallback_();
    recordFunctionEndCallback_ = nullptr;
  }
  FlightRecord::instance().end(record_, failure == nullptr, sender());
  if (failure) writeRecord();
  if (futureResult) futureResult->markCompleted(c10::IValue(static_cast<uint8_t>(result)));
  if (!future) return;
  if (failure) {
    future->setError(failure);
  } else {
    future->markCompleted(c10::IValue(outputs_));
  }
}

void Work::writeRecord() const {
  if (!info_.group) return;
  FlightRecord::instance().writeOnce(info_.group->ranks.at(static_cast<size_t>(info_.rank)));
}

void Work::fail(ncclResult_t code) {
  conclude(backendError(hostLibrary().failureText(code, info_.name)), resultOf(code));
}

void Work::attendOnce() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (completed_ || attended_) return;
    attended_ = true;
  }
  attend();
}

c10::intrusive_ptr<c10::ivalue::Future> Work::getFuture() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (future_) return future_;
    future_ =
        c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()));
    if (completed_ && exception_) {
      future_->setError(exception_);
    } else if (completed_) {
      future_->markCompleted(c10::IValue(outputs_));
    }
  }
  attendOnce();
  return future_;
}

c10::intrusive_ptr<c10::ivalue::Future> Work::getFutureResult() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (futureResult_) return futureResult_;
    futureResult_ = c10::make_intrusive<c10::ivalue::Future>(c10::AnyEnumType::get());
    if (completed_) futureResult_->markCompleted(c10::IValue(static_cast<uint8_t>(result_)));
  }
  attendOnce();
  return futureResult_;
}

EnqueuedWork::EnqueuedWork(const WorkInfo& info, Ticket ticket, std::shared_ptr<Communicator> comm,
                           std::vector<at::Tensor> inputs, std::vector<at::Tensor> outputs,
                           std::function<void()> after)
    : Work(info, std::move(inputs), std::move(outputs)),
      ticket_(std::move(ticket)),
      comm_(std::move(comm)),
      after_(std::move(after)) {}

// Nobody waited for it: its tensors live on until the library needs them no more.
EnqueuedWork::~EnqueuedWork() {
  if (ended() || !ticket_.stream) return;
  Finisher::instance().whenFinished(ticket_,
                                    [inputs = std::move(inputs_), outputs = std::move(outputs_),
                                     after = std::move(after_)]() mutable {
                                      inputs.clear();
                                      outputs.clear();
                                      after = nullptr;
                                    });
}

bool EnqueuedWork::advance(microseconds timeout) {
  if (ended()) return true;
  ncclResult_t code = ticket_.wait(timeout);
  if (code == ncclInProgress) return false;
  if (code != ncclSuccess) {
    fail(code);
    return true;
  }
  {
    // Two threads may come here at once: neither goes on before the results are in place.
    std::lock_guard<std::mutex> lock(afterMutex_);
    if (after_) after_();
    after_ = nullptr;
  }
  conclude(nullptr, c10d::WorkResult::SUCCESS);
  return true;
}

void EnqueuedWork::attend() {
  auto self = c10::intrusive_ptr<EnqueuedWork>::reclaim_copy(this);
  Finisher::instance().whenFinished(ticket_, [self] { self->advance(microseconds(0)); });
}

std::string EnqueuedWork::awaited() const {
  int rank = comm_->waitsFor();
  return rank < 0 ? "" : " It waits for rank " + std::to_string(rank) + " of the group.";
}

JointWork::JointWork(const WorkInfo& info, std::vector<c10::intrusive_ptr<Work>> parts,
                     std::vector<at::Tensor> outputs)
    : Work(unrecorded(info), {}, std::move(outputs)), parts_(std::move(parts)) {}

bool JointWork::advance(microseconds timeout) {
  if (ended()) return true;
  const Clock::time_point end = Clock::now() + timeout;
  std::exception_ptr failure;
  auto result = c10d::WorkResult::SUCCESS;
  for (const auto& part : parts_) {
    microseconds rest = timeout;
    if (timeout.count() > 0) {
      rest =
          std::max(microseconds(0), std::chrono::duration_cast<microseconds>(end - Clock::now()));
    }
    if (!part->advance(rest)) return false;
    if (failure) continue;
    failure = part->exception();
    result = part->outcome();
  }
  conclude(failure, result);
  return true;
}

// The last part's end is not the end of all: each of them looks.
void JointWork::attend() {
  auto self = c10::intrusive_ptr<JointWork>::reclaim_copy(this);
  for (const auto& part : parts_) {
    part->getFuture()->addCallback(
        [self](c10::ivalue::Future&) { self->advance(microseconds(0)); });
  }
}

}  // namespace flexlink::pytorch
