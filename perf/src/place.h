// SPDX-License-Identifier: Apache-2.0
// Which rank this process is, by what launchers put into the environment, and which core it gets.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace flexlink::perf {

// A process among those that a launcher started for one job.
struct Place {
  int process = 0;
  int processes = 1;
  int localProcess = 0;  // on this host
  std::string job;       // tells jobs on one host apart; may be empty
};

// torchrun, Open MPI, MPICH, Intel MPI, Slurm; empty outside all of them.
std::optional<Place> placeFromEnvironment();

// Cores that this process may use, in order.
std::vector<int> usableCores();

// Pins the calling thread to one core for each rank where there are enough; else leaves it alone.
// Returns the core or -1.
int pinToCore(int localIndex, int localCount);

std::string hostName();
std::string cpuModel();  // as the kernel names it

}  // namespace flexlink::perf
