// SPDX-License-Identifier: Apache-2.0
// The plain benchmark: every thread of every rank walks through the same rows; the one that holds
// rank 0 prints. (Comparisons with other libraries are versus.h.)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control.h"
#include "format.h"
#include "gpu.h"
#include "workload.h"

namespace flexlink::perf {

struct TableSetup {
  const Options* options = nullptr;
  Backend* backend = nullptr;
  Control* control = nullptr;
  int libraryVersion = 0;
  int core = -1;                       // that this thread is pinned to
  std::vector<const Gpu*> gpus;        // of the thread's ranks; empty: host memory
  double setUpMemory = 0;              // bytes by which making the communicator grew the process
  std::vector<std::string> arguments;  // of the program, for JSON
};

// Returns the process's exit status: 0, or 1 when an element was wrong or NCCL_TESTS_MIN_BW was
// not reached.
int runTable(const TableSetup& setup);

double residentBytes();  // of this process

}  // namespace flexlink::perf
