// SPDX-License-Identifier: Apache-2.0
// One function for each kind of question of inspect.h.
#include "inspect.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "format.h"
#include "links.h"
#include "options.h"
#include "values.h"

namespace flexlink::perf {
namespace {

// COLLECTIVE [options]: the parsed options by name, or the error on stderr.
int inspectOptions(int argc, char** argv) {
  const Parsed parsed = parseOptions(argc - 1, argv + 1);
  if (!parsed.options) {
    std::fprintf(stderr, "%s\n", parsed.error.c_str());
    return 2;
  }
  const Options& o = *parsed.options;
  std::printf("collective=%s\nthreads=%d\ndevices=%d\n", collectiveName(o.collective), o.threads,
              o.devices);
  std::printf("min=%zu\nmax=%zu\nstep=%zu\nfactor=%d\n", o.minBytes, o.maxBytes, o.stepBytes,
              o.stepFactor);
  std::printf("iterations=%d\naggregated=%d\nwarmup=%d\ncycles=%d\nchecks=%d\n", o.iterations,
              o.aggregated, o.warmup, o.cycles, o.checks);
  std::printf("root=%d\nblocking=%d\naverage=%d\nregistration=%d\nunalign=%d\n", o.root, o.blocking,
              o.average, o.registration, o.unalign);
  std::printf("async=%d\nprocesses=%d\nbuffers=%s\nvs=%s\njson=%s\nlinks=%d\n", o.async,
              o.processes, o.buffersOfLibrary ? "ncclMemAlloc" : "malloc", o.vs.c_str(),
              o.json.c_str(), o.links);
  std::printf("device=%s\nops=", o.cuda ? "cuda" : "host");
  for (const Op op : o.ops) std::printf("%s ", opName(op));
  std::printf("\ntypes=");
  for (const Type type : o.types) std::printf("%s ", typeName(type));
  std::printf("\n");
  return 0;
}

// WIDTH VALUE...: each value in a pair of bars.
int inspectNumbers(int argc, char** argv) {
  for (int i = 4; i < argc; ++i) {
    std::printf("|%s|\n", shortNumber(std::atof(argv[i]), std::atoi(argv[3])).c_str());
  }
  return 0;
}

// COLLECTIVE BYTES TYPE RANKS: send recv count factor algBytes traffic trafficInPlace.
int inspectShape(int argc, char** argv) {
  const auto collective = argc == 7 ? findCollective(argv[3]) : std::nullopt;
  const auto type = argc == 7 ? findType(argv[5]) : std::nullopt;
  if (!collective || !type) return 2;
  const int ranks = std::atoi(argv[6]);
  const Shape shape = shapeOf(*collective, std::strtoull(argv[4], nullptr, 10), *type, ranks);
  std::printf("%zu %zu %zu %.17g %.17g %.17g %.17g\n", shape.send, shape.recv, shape.count,
              busFactor(*collective, ranks), algBytes(*collective, shape, *type, ranks),
              trafficBytes(*collective, shape, *type, ranks, false),
              trafficBytes(*collective, shape, *type, ranks, true));
  return 0;
}

// TYPE OP RANKS SEED: one period as hexadecimal for each rank, then the result (none: no result).
int inspectValues(int argc, char** argv) {
  const auto type = argc == 7 ? findType(argv[3]) : std::nullopt;
  const auto op = argc == 7 ? findOp(argv[4]) : std::nullopt;
  if (!type || !op) return 2;
  const Recipe recipe{*type, *op, std::atoi(argv[5]), std::strtoull(argv[6], nullptr, 10)};
  const auto print = [](const Pattern& pattern) {
    for (const uint8_t byte : pattern) std::printf("%02x", byte);
    std::printf("\n");
  };
  for (int rank = 0; rank < recipe.ranks; ++rank) print(contributionOf(recipe, rank));
  if (*op != Op::kNone) print(resultOf(recipe));
  return 0;
}

// FILE [FILE]: the links in a probe file, or what they did between two of them.
int inspectLinks(int argc, char** argv) {
  std::vector<LinkReading> readings[2];
  std::string error;
  for (int i = 3; i < argc && i < 5; ++i) {
    readings[0] = readings[1];
    if (readLinks(argv[i], &readings[1], &error)) continue;
    std::fprintf(stderr, "%s\n", error.c_str());
    return 1;
  }
  std::fputs(linksText(linkUses(readings[0], readings[1])).c_str(), stdout);
  return 0;
}

}  // namespace

int runInspect(int argc, char** argv) {
  const std::string_view what = argc > 2 ? argv[2] : "";
  if (what == "options") return inspectOptions(argc - 1, argv + 1);
  if (what == "numbers" && argc > 4) return inspectNumbers(argc, argv);
  if (what == "shape") return inspectShape(argc, argv);
  if (what == "links") return inspectLinks(argc, argv);
  if (what == "values") return inspectValues(argc, argv);
  std::fprintf(stderr,
               "flexlink_perf inspect options|numbers|shape|values|links ...: for the tests\n");
  return 2;
}

}  // namespace flexlink::perf
