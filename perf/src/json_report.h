// SPDX-License-Identifier: Apache-2.0
// The result as JSON, nccl-tests' file version 3: the same keys in the same order. Numbers that
// nccl-tests writes as strings (booleans, roots) are strings here, too. --links adds "links".
#pragma once

#include <string>
#include <vector>

#include "format.h"
#include "links.h"

namespace flexlink::perf {

struct JsonReport {
  const Options* options = nullptr;
  std::vector<std::string> arguments;
  std::vector<std::string> environment;  // as environ has it; secrets are blanked on writing
  std::string startTime;
  std::string endTime;
  int libraryVersion = 0;
  std::vector<DeviceLine> devices;
  std::vector<Row> rows;
  uint64_t wrong = 0;
  double averageBusbw = 0;
  std::vector<LinkUse> links;  // with --links, of rank 0's process
};

std::string jsonText(const JsonReport& report);

// Writes to `path`, or to path.0, path.1, ... if that is taken (nothing is overwritten). Returns
// the path that was written, or empty with `error` set.
std::string writeJson(const JsonReport& report, const std::string& path, std::string* error);

}  // namespace flexlink::perf
