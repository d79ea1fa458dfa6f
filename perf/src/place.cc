// SPDX-License-Identifier: Apache-2.0
// place.h: environment variables, sched_setaffinity, /proc/cpuinfo.
#include "place.h"

#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace flexlink::perf {
namespace {

struct Launcher {
  const char* rank;
  const char* size;
  const char* local;
  const char* job;
};

// torchrun first: it also runs below mpirun and srun, and then it is the one that counts.
constexpr Launcher kLaunchers[] = {
    {"RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RUN_ID"},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "PMIX_NAMESPACE"},
    {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "PMI_ID"},
    {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_JOB_ID"},
};

std::optional<int> number(const char* name) {
  const char* text = std::getenv(name);
  if (!text || !*text) return std::nullopt;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*end != '\0' || value < 0 || value > 1 << 20) return std::nullopt;
  return static_cast<int>(value);
}

}  // namespace

std::optional<Place> placeFromEnvironment() {
  for (const Launcher& launcher : kLaunchers) {
    const std::optional<int> rank = number(launcher.rank);
    const std::optional<int> size = number(launcher.size);
    if (!rank || !size || *rank >= *size) continue;
    Place place;
    place.process = *rank;
    place.processes = *size;
    place.localProcess = number(launcher.local).value_or(*rank);
    const char* port = std::getenv("MASTER_PORT");
    const char* job = std::getenv(launcher.job);
    // All ranks of a host that one launcher started have the same parent, whatever else is set.
    place.job =
        std::string(job ? job : "") + "-" + (port ? port : "") + "-" + std::to_string(getppid());
    return place;
  }
  return std::nullopt;
}

std::vector<int> usableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

int pinToCore(int localIndex, int localCount) {
  const std::vector<int> cores = usableCores();
  if (localCount > static_cast<int>(cores.size())) return -1;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cores[localIndex], &set);
  return sched_setaffinity(0, sizeof set, &set) == 0 ? cores[localIndex] : -1;
}

std::string hostName() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

std::string cpuModel() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

}  // namespace flexlink::perf
