// SPDX-License-Identifier: Apache-2.0
// One thread's ranks with their buffers, and what is done with them: run a case for a number of
// iterations and time it, check it, or copy between the buffers to learn what the machine allows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend.h"
#include "control.h"

namespace flexlink::perf {

struct Case {
  Collective collective = Collective::kAllReduce;
  Type type = Type::kFloat;
  Op op = Op::kSum;
  int root = 0;
  size_t bytes = 0;  // as on the command line
  bool inPlace = false;
};

// When a timed loop waits and where barriers are: -z.
enum class Blocking { kOff, kInnerBarrier, kInner, kOuterBarrier };

struct TimedLoop {
  int iterations = 1;
  int aggregated = 1;  // calls in one group
  Blocking blocking = Blocking::kOff;
  bool perIteration = false;
};

struct LoopTime {
  double seconds = 0;              // for each call, this thread's back-to-back average
  double cpuSeconds = 0;           // the same until everything was enqueued
  std::vector<double> iterations;  // seconds, with TimedLoop::perIteration
};

struct BufferSetup {
  size_t maxBytes = 0;     // largest Case::bytes to come
  bool ofLibrary = false;  // Backend::allocate instead of anonymous memory
  int registration = 0;    // 0 none, 1 local, 2 symmetric
  int unalign = 0;         // elements
};

class Workload {
 public:
  // Both outlive the workload. Ends the process if buffers cannot be had.
  Workload(Backend* backend, Control* control, const BufferSetup& setup);

  // Empty, or why the library cannot run this case.
  std::string prepare(const Case& what);

  // Everything below ends the process with a text when the library refuses a call.
  Shape shape() const { return shape_; }
  void run(int times);  // warm-up
  LoopTime time(const TimedLoop& loop);
  uint64_t check(uint64_t seed);  // wrong elements of this thread's ranks

  // Seconds for one copy of the case's larger buffer into the other while all participants do the
  // same: the best of plain and non-temporal stores, median of some repetitions.
  double copySeconds();

 private:
  struct Buffers {
    char* send = nullptr;
    char* recv = nullptr;
  };
  char* allocate(int local, size_t bytes);
  void issue();
  double copyOnce(bool streaming, int repetitions);
  Call onHost(int local);
  void move(bool toDevice);

  Backend* backend_;
  Control* control_;
  BufferSetup setup_;
  std::vector<Buffers> buffers_;  // by local rank
  std::vector<Buffers>
      shadows_;          // the same on the host, for checks; empty where buffers_ are there
  size_t capacity_ = 0;  // bytes of each, without guard
  Case case_;
  Shape shape_;
  std::vector<Call> calls_;
};

}  // namespace flexlink::perf
