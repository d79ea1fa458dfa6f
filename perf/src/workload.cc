// SPDX-License-Identifier: Apache-2.0
// Buffers, the timed loop and the check of workload.h. The loop is the same for every library.
#include "workload.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "copy.h"
#include "fail.h"
#include "verify.h"

namespace flexlink::perf {
namespace {

double now() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

void* hostMemory(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("no memory for a buffer of %zu bytes", bytes);
  return memory;
}

}  // namespace

Workload::Workload(Backend* backend, Control* control, const BufferSetup& setup)
    : backend_(backend), control_(control), setup_(setup) {
  // Blocks are cut down, never up; an unaligned start moves everything by some elements.
  capacity_ = setup.maxBytes + static_cast<size_t>(setup.unalign) * 8;
  const bool grouped = setup.registration != 0 && backend->localRanks() > 1;
  buffers_.resize(static_cast<size_t>(backend->localRanks()));
  for (int i = 0; i < backend->localRanks(); ++i) {
    buffers_[i].send = allocate(i, capacity_ + kGuardBytes);
    buffers_[i].recv = allocate(i, capacity_ + kGuardBytes);
  }
  if (setup.registration == 0) return;
  const bool symmetric = setup.registration == 2;
  bool done = !grouped || backend->groupStart();
  for (int i = 0; done && i < backend->localRanks(); ++i) {
    done = backend->registerBuffer(i, buffers_[i].send, capacity_ + kGuardBytes, symmetric) &&
           backend->registerBuffer(i, buffers_[i].recv, capacity_ + kGuardBytes, symmetric);
  }
  if (!done || (grouped && !backend->groupEnd())) {
    fail("registering buffers (-R %d) failed: %s", setup.registration, backend->error().c_str());
  }
}

char* Workload::allocate(int local, size_t bytes) {
  const size_t page = 4096;
  const size_t whole = (bytes + page - 1) / page * page;
  DeviceMemory* device = backend_->memory(local);
  void* memory = nullptr;
  if (setup_.ofLibrary) {
    memory = backend_->allocate(local, whole);
    if (!memory) fail("no buffer of %zu bytes: %s", whole, backend_->error().c_str());
  } else {
    memory = device ? device->allocate(whole) : hostMemory(whole);
  }
  // Its pages, before anything is timed.
  device ? device->clear(memory, whole) : static_cast<void>(std::memset(memory, 0, whole));
  return static_cast<char*>(memory);
}

std::string Workload::prepare(const Case& what) {
  case_ = what;
  shape_ = shapeOf(what.collective, what.bytes, what.type, backend_->ranks());
  const size_t size = typeSize(what.type);
  const size_t skip = static_cast<size_t>(setup_.unalign) * size;
  calls_.assign(buffers_.size(), Call{});
  for (size_t i = 0; i < calls_.size(); ++i) {
    const auto rank = static_cast<size_t>(backend_->firstRank()) + i;
    char* shared = buffers_[i].recv + skip;
    Call& call = calls_[i];
    call.collective = what.collective;
    call.type = what.type;
    call.op = what.op;
    call.root = what.root < 0 ? 0 : what.root;
    call.count = shape_.count;
    call.send = what.inPlace ? shared + rank * shape_.sendInPlace * size : buffers_[i].send + skip;
    call.recv = what.inPlace ? shared + rank * shape_.recvInPlace * size : shared;
  }
  return backend_->refusal(calls_[0]);
}

void Workload::issue() {
  if (!backend_->enqueue(calls_)) [[unlikely]] {
    fail("%s of %zu bytes failed: %s", collectiveName(case_.collective), case_.bytes,
         backend_->error().c_str());
  }
}

void Workload::run(int times) {
  for (int i = 0; i < times; ++i) issue();
  if (!backend_->wait()) fail("waiting failed: %s", backend_->error().c_str());
}

LoopTime Workload::time(const TimedLoop& loop) {
  const bool waits = loop.blocking == Blocking::kInner || loop.blocking == Blocking::kInnerBarrier;
  LoopTime result;
  if (loop.perIteration) result.iterations.reserve(static_cast<size_t>(loop.iterations));
  double outside = 0;  // in barriers that do not count
  control_->barrier();
  const double start = now();
  double last = start;
  for (int i = 0; i < loop.iterations; ++i) {
    if (loop.aggregated > 1 && !backend_->groupStart()) fail("%s", backend_->error().c_str());
    for (int j = 0; j < loop.aggregated; ++j) {
      issue();
      if (!waits || loop.aggregated > 1) continue;
      run(0);
      if (loop.blocking == Blocking::kInnerBarrier) control_->barrier();
    }
    if (loop.aggregated > 1 && !backend_->groupEnd()) fail("%s", backend_->error().c_str());
    if (loop.perIteration || loop.blocking == Blocking::kOuterBarrier) {
      run(0);
      const double ended = now();
      if (loop.perIteration) result.iterations.push_back((ended - last) / loop.aggregated);
      if (loop.blocking == Blocking::kOuterBarrier) control_->barrier();
      last = loop.blocking == Blocking::kOuterBarrier ? now() : ended;
      outside += last - ended;
    }
  }
  const double calls = static_cast<double>(loop.iterations) * loop.aggregated;
  result.cpuSeconds = (now() - start - outside) / calls;
  run(0);
  result.seconds = (now() - start - outside) / calls;
  return result;
}

Call Workload::onHost(int local) {
  Call call = calls_[local];
  if (!backend_->memory(local)) return call;
  if (shadows_.empty()) shadows_.resize(buffers_.size());
  const Buffers& device = buffers_[local];
  Buffers& host = shadows_[local];
  if (!host.send) {
    host.send = static_cast<char*>(hostMemory(capacity_ + kGuardBytes));
    host.recv = static_cast<char*>(hostMemory(capacity_ + kGuardBytes));
  }
  // In place, what is sent lies in the receive buffer.
  const auto* send = static_cast<const char*>(call.send);
  call.send = case_.inPlace ? host.recv + (send - device.recv) : host.send + (send - device.send);
  call.recv = host.recv + (static_cast<char*>(call.recv) - device.recv);
  return call;
}

void Workload::move(bool toDevice) {
  for (size_t i = 0; i < shadows_.size(); ++i) {
    DeviceMemory* device = backend_->memory(static_cast<int>(i));
    const Buffers& there = buffers_[i];
    const Buffers& here = shadows_[i];
    const size_t elements = static_cast<size_t>(setup_.unalign) + shape_.largest();
    const size_t bytes = elements * typeSize(case_.type) + kGuardBytes;
    if (toDevice) {
      device->write(there.send, here.send, bytes);
      device->write(there.recv, here.recv, bytes);
    } else {
      device->read(here.send, there.send, bytes);
      device->read(here.recv, there.recv, bytes);
    }
  }
}

uint64_t Workload::check(uint64_t seed) {
  std::vector<CheckCase> checks(calls_.size());
  for (size_t i = 0; i < calls_.size(); ++i) {
    const int local = static_cast<int>(i);
    checks[i] = {onHost(local),     shape_,        backend_->firstRank() + local,
                 backend_->ranks(), case_.inPlace, seed};
    fillForCheck(checks[i]);
  }
  move(true);
  run(1);
  move(false);
  uint64_t wrong = 0;
  for (const CheckCase& check : checks) wrong += countWrong(check);
  return wrong;
}

double Workload::copySeconds() {
  constexpr double kTarget = 0.004;  // seconds in one repetition, so that skew does not matter
  constexpr int kRepetitions = 5;
  control_->barrier();
  const double once = foldOver(control_, copyOnce(false, 1), Fold::kMax);
  const int inner = static_cast<int>(std::clamp(kTarget / std::max(once, 1e-9), 1.0, 1e5));
  double best = 0;
  for (const bool streaming : {false, true}) {
    std::vector<double> seconds;
    for (int i = 0; i < kRepetitions; ++i) {
      control_->barrier();
      seconds.push_back(foldOver(control_, copyOnce(streaming, inner), Fold::kAverage));
    }
    std::nth_element(seconds.begin(), seconds.begin() + kRepetitions / 2, seconds.end());
    const double median = seconds[kRepetitions / 2];
    if (best == 0 || median < best) best = median;
  }
  return best;
}

double Workload::copyOnce(bool streaming, int repetitions) {
  const size_t bytes = shape_.largest() * typeSize(case_.type);
  const double start = now();
  for (int i = 0; i < repetitions; ++i) {
    for (size_t local = 0; local < buffers_.size(); ++local) {
      const Buffers& buffers = buffers_[local];
      if (DeviceMemory* device = backend_->memory(static_cast<int>(local))) {
        device->copy(buffers.recv, buffers.send, bytes);
      } else {
        streaming ? copyStreaming(buffers.recv, buffers.send, bytes)
                  : copyPlain(buffers.recv, buffers.send, bytes);
      }
    }
  }
  for (size_t local = 0; local < buffers_.size(); ++local) {
    if (DeviceMemory* device = backend_->memory(static_cast<int>(local))) device->finish();
  }
  return (now() - start) / repetitions;
}

}  // namespace flexlink::perf
