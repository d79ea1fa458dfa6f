// SPDX-License-Identifier: Apache-2.0
#include "gpu_watch.h"

#include <dlfcn.h>

#include <algorithm>

#include "thread.h"

namespace flexlink::pytorch {
namespace {

constexpr std::chrono::milliseconds kTick{10};

// A thread that asks for events must not spoil the graph that another one records meanwhile
// (CUDA's stream capture, mode "relaxed" for the calling thread).
void standAsideOfCaptures() {
  constexpr int kRelaxed = 2;
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (driver == nullptr) return;
  auto exchange =
      reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuThreadExchangeStreamCaptureMode"));
  int mode = kRelaxed;
  if (exchange != nullptr) exchange(&mode);
}

void end(GpuTrace& trace, const std::exception_ptr& failure, c10d::WorkResult result) {
  trace.seen.store(true, std::memory_order_relaxed);
  if (auto work = trace.work.lock()) {
    work->conclude(failure, result);
  } else {
    FlightRecord::instance().end(trace.record, failure == nullptr, -1);
  }
  trace.letGo();
}

// What a driver says no to, also when the process ends, is the operation's failure.
bool isOver(GpuTrace& trace) {
  try {
    return trace.over();
  } catch (...) {
    end(trace, std::current_exception(), c10d::WorkResult::COMM_ERROR);
    return false;
  }
}

std::string failureOf(const GpuTrace& trace, ncclResult_t code) {
  return trace.comm->library().failureText(code, trace.what.c_str());
}

}  // namespace

// Never destroyed: its thread may be at work when the process ends.
GpuWatch& GpuWatch::instance() {
  static GpuWatch* watch = new GpuWatch;
  return *watch;
}

void GpuWatch::follow(std::shared_ptr<GpuTrace> trace) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    traces_.push_back(std::move(trace));
    if (!started_) {
      startThread("flexlink-watch", [this] { loop(); });
      started_ = true;
    }
  }
  some_.notify_one();
}

void GpuWatch::conclude(GpuTrace& trace) {
  const ncclResult_t code = trace.comm->isOpen() ? trace.comm->asyncError() : ncclSuccess;
  if (code == ncclSuccess || code == ncclInProgress) {
    return end(trace, nullptr, c10d::WorkResult::SUCCESS);
  }
  end(trace, backendError(failureOf(trace, code)), resultOf(code));
}

std::vector<std::shared_ptr<GpuTrace>> GpuWatch::all() {
  std::lock_guard<std::mutex> lock(mutex_);
  return traces_;
}

bool GpuWatch::busy(const Communicator& comm) {
  const auto traces = all();
  return std::any_of(traces.begin(), traces.end(), [&](const auto& trace) {
    return trace->comm.get() == &comm && !trace->seen.load(std::memory_order_relaxed) &&
           !isOver(*trace);
  });
}

void GpuWatch::fail(Communicator& comm, const std::string& why, c10d::WorkResult result) {
  const std::exception_ptr failure = backendError(why);
  for (const auto& trace : all()) {
    if (trace->comm.get() != &comm || trace->seen.load(std::memory_order_relaxed)) continue;
    isOver(*trace) ? conclude(*trace) : end(*trace, failure, result);
  }
  comm.abort(why);
}

void GpuWatch::lookAt(GpuTrace& trace) {
  if (trace.seen.load(std::memory_order_relaxed)) return;
  if (isOver(trace)) return conclude(trace);
  if (!trace.comm->isOpen()) return;  // whoever closes it waits
  const ncclResult_t code = trace.comm->asyncError();
  if (code != ncclSuccess && code != ncclInProgress) {
    return fail(*trace.comm, failureOf(trace, code), resultOf(code));
  }
  if (GpuTrace::Clock::now() < trace.latest) return;
  fail(*trace.comm,
       "flexlink: " + trace.what +
           " has not ended within its time limit; the group's communicator on this GPU is aborted",
       c10d::WorkResult::TIMEOUT);
}

void GpuWatch::look() {
  const auto traces = all();  // they may go, and communicators with them, without the lock
  for (const auto& trace : traces) lookAt(*trace);
  std::lock_guard<std::mutex> lock(mutex_);
  std::erase_if(traces_,
                [](const auto& trace) { return trace->seen.load(std::memory_order_relaxed); });
}

void GpuWatch::loop() {
  standAsideOfCaptures();
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      some_.wait(lock, [this] { return !traces_.empty(); });
    }
    look();
    std::this_thread::sleep_for(kTick);
  }
}

}  // namespace flexlink::pytorch
