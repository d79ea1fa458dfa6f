// SPDX-License-Identifier: Apache-2.0
// An operation on a GPU: it lies on streams, and the host goes on. Streams and events are c10's
// own, which are those of whatever torch runs on the GPU.
#pragma once

#include <c10/core/Event.h>

#include <optional>

#include "work.h"

namespace flexlink::pytorch {

// What torch does with devices of this one's type.
inline c10::impl::VirtualGuardImpl implOf(c10::Device device) {
  return c10::impl::VirtualGuardImpl(device.type());
}

// What lies on the GPU's streams, for as long as it lies there or its Work lives.
struct GpuTrace {
  using Clock = std::chrono::steady_clock;

  std::optional<c10::Event> end;  // the streams have passed it: the operation is over
  std::shared_ptr<Communicator> comm;
  std::string what;               // "rank 1: all_reduce (operation 7 of its group)"
  Clock::time_point latest;       // it should have ended; max(): no limit
  uint64_t record = 0;            // FlightRecord's number
  std::atomic<bool> seen{false};  // its end, by GpuWatch; relaxed: GpuWork has the outcome
  c10::weak_intrusive_ptr<Work> work{c10::intrusive_ptr<Work>()};

  bool over() const;  // the streams have passed it, with or without success

  void keep(std::vector<at::Tensor> tensors);
  void keep(std::function<void()> closure);
  // Whoever uses the memory next does so behind the operation.
  void letGo();

 private:
  std::mutex mutex_;  // guards the rest
  std::vector<at::Tensor> tensors_;
  std::vector<std::function<void()>> closures_;  // with tensors of theirs
};

// Any thread. Before enqueued() a part of a batch has nothing to wait for.
class GpuWork final : public Work {
 public:
  using Clock = GpuTrace::Clock;

  GpuWork(const WorkInfo& info, c10::Device device, std::vector<at::Tensor> inputs,
          std::vector<at::Tensor> outputs);

  // The operation now lies on streams, up to `end`. `watched`: somebody is to see its end;
  // not while the streams are recorded into a graph.
  void enqueued(std::shared_ptr<Communicator> comm, c10::Event end, std::chrono::milliseconds limit,
                bool watched);

  // It will be enqueued by another thread, or fail: who waits does so for that, too.
  void deferred() { deferred_.store(true, std::memory_order_relaxed); }

  // More of what the operation uses and fills, before enqueued().
  void add(const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& outputs);
  void keep(std::function<void()> closure) { trace_->keep(std::move(closure)); }

  // Without a limit: what the caller's stream does next waits, and the caller does not, but for a
  // barrier. With one: the caller waits.
  bool wait(std::chrono::milliseconds timeout) override;
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override;
  bool advance(std::chrono::microseconds timeout) override;
  int sourceRank() const override;
  virtual void blockCurrentStream() { wait(kNoTimeout); }  // of torch 2.9's base it is none

 private:
  void attend() override {}  // the watch does
  std::string awaited() const override;
  void orderCaller();
  bool awaitStreams(Clock::time_point end);

  const c10::Device device_;
  const std::shared_ptr<GpuTrace> trace_;
  std::atomic<bool> onStreams_{false};  // release in enqueued(), acquire by those who wait
  std::atomic<bool> deferred_{false};   // relaxed: set before anybody else has the Work
  std::mutex futureMutex_;              // guards the next
  c10::intrusive_ptr<c10::ivalue::Future> gpuFuture_;
};

}  // namespace flexlink::pytorch
