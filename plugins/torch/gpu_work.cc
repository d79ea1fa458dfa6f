// SPDX-License-Identifier: Apache-2.0
#include "gpu_work.h"

#include <c10/core/StreamGuard.h>

#include <algorithm>
#include <iterator>
#include <thread>

#include "gpu_watch.h"

namespace flexlink::pytorch {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
constexpr microseconds kPoll{50};

}  // namespace

bool GpuTrace::over() const { return end->query(); }

void GpuTrace::keep(std::vector<at::Tensor> tensors) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::move(tensors.begin(), tensors.end(), std::back_inserter(tensors_));
}

void GpuTrace::keep(std::function<void()> closure) {
  std::lock_guard<std::mutex> lock(mutex_);
  closures_.push_back(std::move(closure));
}

// They are destroyed without the lock: a tensor's end may run code of the user's.
void GpuTrace::letGo() {
  std::vector<at::Tensor> tensors;
  std::vector<std::function<void()>> closures;
  std::lock_guard<std::mutex> lock(mutex_);
  tensors.swap(tensors_);
  closures.swap(closures_);
}

GpuWork::GpuWork(const WorkInfo& info, c10::Device device, std::vector<at::Tensor> inputs,
                 std::vector<at::Tensor> outputs)
    : Work(info, std::move(inputs), std::move(outputs)),
      device_(device),
      trace_(std::make_shared<GpuTrace>()) {
  trace_->record = record_;
  trace_->keep(std::move(inputs_));
  trace_->keep(outputs_);
  inputs_.clear();
}

void GpuWork::add(const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& outputs) {
  trace_->keep(inputs);
  trace_->keep(outputs);
  outputs_.insert(outputs_.end(), outputs.begin(), outputs.end());
}

void GpuWork::enqueued(std::shared_ptr<Communicator> comm, c10::Event end, milliseconds limit,
                       bool watched) {
  trace_->comm = std::move(comm);
  trace_->end = std::move(end);
  trace_->what = "rank " + std::to_string(info_.rank) + ": " + info_.name + " (operation " +
                 std::to_string(info_.seq) + " of its group)";
  trace_->latest = limit.count() > 0 ? Clock::now() + limit : Clock::time_point::max();
  trace_->work = c10::weak_intrusive_ptr<Work>(c10::intrusive_ptr<Work>::reclaim_copy(this));
  onStreams_.store(true, std::memory_order_release);
  if (watched) return GpuWatch::instance().follow(trace_);
  trace_->letGo();  // the graph's memory is the program's to keep
  conclude(nullptr, c10d::WorkResult::SUCCESS);
}

// A part of an open batch has no end yet.
void GpuWork::orderCaller() {
  if (!onStreams_.load(std::memory_order_acquire)) return;
  trace_->end->block(implOf(device_).getStream(device_));
}

// True: it lies on streams, or has failed before.
bool GpuWork::awaitStreams(Clock::time_point end) {
  while (!onStreams_.load(std::memory_order_acquire) && !ended()) {
    if (Clock::now() >= end) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

bool GpuWork::wait(milliseconds timeout) {
  if (deferred_.load(std::memory_order_relaxed)) {
    awaitStreams(timeout == kNoTimeout ? Clock::time_point::max() : Clock::now() + timeout);
  } else if (!onStreams_.load(std::memory_order_acquire) && !ended()) {
    return true;  // inside a batch
  }
  if (timeout != kNoTimeout || info_.type == c10d::OpType::BARRIER) Work::wait(timeout);
  if (std::exception_ptr failure = exception()) std::rethrow_exception(failure);
  orderCaller();
  trace_->letGo();
  return true;
}

bool GpuWork::advance(microseconds timeout) {
  const Clock::time_point end =
      timeout.count() < 0 ? Clock::time_point::max() : Clock::now() + timeout;
  if (!awaitStreams(deferred_.load(std::memory_order_relaxed) ? end : Clock::time_point::min())) {
    return false;
  }
  for (;;) {
    if (ended()) return true;
    if (trace_->over()) {
      GpuWatch::conclude(*trace_);
      return true;
    }
    if (Clock::now() >= end) return false;
    std::this_thread::sleep_for(kPoll);
  }
}

// It is complete at once, as torch's own for GPUs are: whoever takes its value is ordered behind
// the operation by events, which a stream that holds nothing else records.
c10::intrusive_ptr<c10::ivalue::Future> GpuWork::getFuture() {
  std::lock_guard<std::mutex> lock(futureMutex_);
  if (gpuFuture_) return gpuFuture_;
  gpuFuture_ = c10::make_intrusive<c10::ivalue::Future>(
      c10::ListType::create(c10::TensorType::get()), std::vector<c10::Device>{device_});
  if (deferred_.load(std::memory_order_relaxed)) awaitStreams(Clock::time_point::max());
  if (std::exception_ptr failure = exception()) {
    gpuFuture_->setError(failure);
    return gpuFuture_;
  }
  const c10::Stream behind = implOf(device_).getStreamFromGlobalPool(device_);
  const c10::StreamGuard guard(behind);
  orderCaller();
  gpuFuture_->markCompleted(c10::IValue(outputs_));
  return gpuFuture_;
}

int GpuWork::sourceRank() const {
  return info_.type == c10d::OpType::RECV ? info_.peer : Work::sourceRank();
}

std::string GpuWork::awaited() const {
  if (!trace_->comm) return " Its ranks have not met.";
  const int rank = trace_->comm->waitsFor();
  return rank < 0 ? "" : " It waits for rank " + std::to_string(rank) + " of the group.";
}

}  // namespace flexlink::pytorch
