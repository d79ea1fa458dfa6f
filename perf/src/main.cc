// SPDX-License-Identifier: Apache-2.0
// The program: reads the command line and decides who runs where.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "gpu.h"
#include "inspect.h"
#include "options.h"
#include "process.h"
#include "versus.h"

int main(int argc, char** argv) {
  using namespace flexlink::perf;
  if (argc == 4 && std::string_view(argv[1]) == "worker") {
    Options options;
    options.library = argv[3];
    return runNcclWorker(options);
  }
  if (argc > 1 && std::string_view(argv[1]) == "inspect") return runInspect(argc, argv);
  const Parsed parsed = parseOptions(argc, argv);
  if (!parsed.options) {
    if (parsed.error.empty()) {
      std::fputs(helpText(), stdout);
      return 0;
    }
    std::fprintf(stderr, "flexlink_perf: %s\n", parsed.error.c_str());
    return 2;
  }
  const Options& options = *parsed.options;
  const std::vector<std::string> arguments(argv, argv + argc);
  if (options.cuda) {
    if (const std::string problem = gpuProblem(); !problem.empty()) {
      std::fprintf(stderr, "flexlink_perf: --device cuda: %s\n", problem.c_str());
      return 1;
    }
    setenv("FLEXLINK_DEVICE", "cuda", 0);  // nothing falls back to host memory
  }
  if (!options.vs.empty()) return runVersus(options);
  if (options.processes > 0) return launchProcesses(options, arguments);
  return runProcess(options, placeFromEnvironment().value_or(Place{}), nullptr, arguments);
}
