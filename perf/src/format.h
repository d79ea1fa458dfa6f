// SPDX-License-Identifier: Apache-2.0
// The table as text, byte for byte as nccl-tests 2.19.6 prints it (plus a bound column on demand),
// and as comma-separated rows. Pure: values in, strings out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "options.h"

namespace flexlink::perf {

// At most `width` characters: %.2f, and with fewer digits as it gets too long for that.
std::string shortNumber(double value, int width);

struct IterationStats {
  double min = 0, max = 0, average = 0, p50 = 0, p95 = 0, p99 = 0, deviation = 0;  // seconds
  double variationPercent() const { return average > 0 ? deviation / average * 100 : 0; }
};

// Nearest-rank percentiles. `seconds` must not be empty.
IterationStats statsOf(std::vector<double> seconds);

// One half of a row: out of place or in place.
struct Half {
  double microseconds = 0;
  double algbw = 0;  // GB/s, 1e9
  double busbw = 0;
  std::optional<uint64_t> wrong;   // empty: N/A
  std::optional<double> bound;     // busbw at the machine's copy rate
  std::vector<double> iterations;  // seconds, the slowest rank's, with -I
};

struct Row {
  Collective collective = Collective::kAllReduce;
  int ranks = 1;
  size_t bytes = 0;
  size_t count = 0;
  Type type = Type::kFloat;
  Op op = Op::kSum;
  int root = -1;
  Half outOfPlace;
  Half inPlace;
};

struct DeviceLine {
  int rank = 0;
  int group = 0;
  int pid = 0;
  std::string host;
  int device = 0;
  unsigned long pci = 0;  // domain << 16 | bus << 8 | device
  std::string text;
};

// Where buffers live, who makes them and how calls are issued, for people.
std::string wayText(const Options& options);
std::string preamble(const Options& options, int libraryVersion);
std::string pciText(unsigned long pci);  // "0000:4a:00"
std::string deviceText(const DeviceLine& line);
std::string tableHeader(const Options& options);
std::string rowText(const Options& options, const Row& row);
std::string footer(const Options& options, uint64_t wrong, double averageBusbw);
std::string csvHeader();
std::string csvText(const Row& row);

// NCCL_TESTS_MIN_BW, or empty.
std::optional<double> wantedBandwidth();
bool reachesWanted(double averageBusbw);

std::string timeOfDay();  // "2026-11-20 09:30:00"

}  // namespace flexlink::perf
