// SPDX-License-Identifier: Apache-2.0
// options.h by getopt_long and two tables: which letters are whole numbers in which range, and
// which options nothing here has a use for.
#include "options.h"

#include <getopt.h>

#include <cerrno>
#include <climits>
#include <cmath>
#include <cstdlib>

namespace flexlink::perf {
namespace {

enum Long : int {
  kRanks = 256,
  kBuffers,
  kCsv,
  kBound,
  kVs,
  kRounds,
  kInPlace,
  kMalloc,
  kAsync,
  kLibrary,
  kIdFile,
  kNoPin,
  kLinks,
  kDevice,
};

constexpr char kLetters[] = "+:t:g:b:e:i:f:n:m:w:N:p:c:o:d:r:z:y:T:G:C:S:a:R:x:D:V:J:M:u:I:K:h";

const option kLongOptions[] = {{"nthreads", 1, nullptr, 't'},
                               {"ngpus", 1, nullptr, 'g'},
                               {"minbytes", 1, nullptr, 'b'},
                               {"maxbytes", 1, nullptr, 'e'},
                               {"stepbytes", 1, nullptr, 'i'},
                               {"stepfactor", 1, nullptr, 'f'},
                               {"iters", 1, nullptr, 'n'},
                               {"agg_iters", 1, nullptr, 'm'},
                               {"warmup_iters", 1, nullptr, 'w'},
                               {"run_cycles", 1, nullptr, 'N'},
                               {"parallel_init", 1, nullptr, 'p'},
                               {"check", 1, nullptr, 'c'},
                               {"op", 1, nullptr, 'o'},
                               {"datatype", 1, nullptr, 'd'},
                               {"root", 1, nullptr, 'r'},
                               {"blocking", 1, nullptr, 'z'},
                               {"stream_null", 1, nullptr, 'y'},
                               {"timeout", 1, nullptr, 'T'},
                               {"cudagraph", 1, nullptr, 'G'},
                               {"report_cputime", 1, nullptr, 'C'},
                               {"report_timestamps", 1, nullptr, 'S'},
                               {"average", 1, nullptr, 'a'},
                               {"local_register", 1, nullptr, 'R'},
                               {"cta_policy", 1, nullptr, 'x'},
                               {"device_implementation", 1, nullptr, 'D'},
                               {"device_cta_count", 1, nullptr, 'V'},
                               {"output_file", 1, nullptr, 'J'},
                               {"memory", 1, nullptr, 'M'},
                               {"unalign", 1, nullptr, 'u'},
                               {"per_iter_timing", 1, nullptr, 'I'},
                               {"per_iter_skip", 1, nullptr, 'K'},
                               {"help", 0, nullptr, 'h'},
                               {"ranks", 1, nullptr, kRanks},
                               {"threads", 1, nullptr, 't'},
                               {"buffers", 1, nullptr, kBuffers},
                               {"device", 1, nullptr, kDevice},
                               {"csv", 0, nullptr, kCsv},
                               {"bound", 0, nullptr, kBound},
                               {"links", 0, nullptr, kLinks},
                               {"vs", 1, nullptr, kVs},
                               {"rounds", 1, nullptr, kRounds},
                               {"inplace", 1, nullptr, kInPlace},
                               {"malloc", 1, nullptr, kMalloc},
                               {"async", 0, nullptr, kAsync},
                               {"library", 1, nullptr, kLibrary},
                               {"id-file", 1, nullptr, kIdFile},
                               {"no-pin", 0, nullptr, kNoPin},
                               {nullptr, 0, nullptr, 0}};

struct WholeNumber {
  int letter;
  int Options::*field;
  int low;
  int high;
};

constexpr WholeNumber kWholeNumbers[] = {
    {'t', &Options::threads, 1, 256},
    {'g', &Options::devices, 1, 256},
    {'f', &Options::stepFactor, 1, INT_MAX},
    {'n', &Options::iterations, 1, INT_MAX},
    {'m', &Options::aggregated, 1, 65536},
    {'w', &Options::warmup, 0, INT_MAX},
    {'N', &Options::cycles, 0, INT_MAX},
    {'p', &Options::parallelInit, 0, 1},
    {'c', &Options::checks, 0, INT_MAX},
    {'r', &Options::root, -1, INT_MAX},
    {'z', &Options::blocking, 0, 3},
    {'T', &Options::timeout, 0, INT_MAX},
    {'C', &Options::cpuTime, 0, 1},
    {'S', &Options::timestamps, 0, 1},
    {'a', &Options::average, 0, 3},
    {'R', &Options::registration, 0, 2},
    {'x', &Options::ctaPolicy, -1, 2},
    {'M', &Options::memory, 0, 1},
    {'u', &Options::unalign, 0, 65536},
    {'I', &Options::perIteration, 0, 1},
    {'K', &Options::perIterationSkip, 0, INT_MAX},
    {kRanks, &Options::processes, 1, 256},
    {kRounds, &Options::rounds, 1, 10000},
    {kInPlace, &Options::inPlace, 0, 1},
};

std::optional<long> parseWhole(const char* text) {
  char* end = nullptr;
  errno = 0;
  const long value = std::strtol(text, &end, 0);
  if (end == text || *end != '\0' || errno == ERANGE) return std::nullopt;
  return value;
}

std::string nameOf(int letter) {
  if (letter < 256) return std::string("-") + static_cast<char>(letter);
  for (const option& entry : kLongOptions) {
    if (entry.name && entry.val == letter) return std::string("--") + entry.name;
  }
  return "?";
}

std::string setWhole(const WholeNumber& number, const char* text, Options* options) {
  const std::optional<long> value = parseWhole(text);
  if (value && *value >= number.low && *value <= number.high) {
    options->*number.field = static_cast<int>(*value);
    if (number.letter == 'n') options->iterationsGiven = true;
    return {};
  }
  std::string range = "a whole number from " + std::to_string(number.low);
  if (number.high != INT_MAX) range += " to " + std::to_string(number.high);
  return nameOf(number.letter) + " takes " + range + ", not '" + text + "'";
}

std::string setSize(int letter, const char* text, Options* options) {
  const std::optional<size_t> bytes = parseSize(text);
  if (!bytes) {
    return nameOf(letter) + " takes a size such as 8, 64K, 1.5M or 2G, not '" + text + "'";
  }
  size_t Options::*field = letter == 'b'   ? &Options::minBytes
                           : letter == 'e' ? &Options::maxBytes
                                           : &Options::stepBytes;
  options->*field = *bytes;
  return {};
}

std::string setOps(const char* text, Options* options) {
  options->ops.clear();
  if (std::string_view(text) == "all") {
    for (int i = 0; i < kOps; ++i) options->ops.push_back(static_cast<Op>(i));
    return {};
  }
  const std::optional<Op> op = findOp(text);
  if (!op || *op == Op::kNone) {
    return "-o takes sum, prod, min, max, avg, mulsum or all, not '" + std::string(text) + "'";
  }
  options->ops.push_back(*op);
  return {};
}

std::string setTypes(const char* text, Options* options) {
  options->types.clear();
  if (std::string_view(text) == "all") {
    for (int i = 0; i < kTypes; ++i) options->types.push_back(static_cast<Type>(i));
    return {};
  }
  const std::optional<Type> type = findType(text);
  if (!type) {
    std::string names;
    for (int i = 0; i < kTypes; ++i) names += std::string(typeName(static_cast<Type>(i))) + ", ";
    return "-d takes " + names + "or all, not '" + text + "'";
  }
  options->types.push_back(*type);
  return {};
}

std::string setChoice(int letter, std::string_view text, Options* options) {
  if (letter == kBuffers) {
    options->buffersOfLibrary = text == "ncclMemAlloc";
    if (options->buffersOfLibrary || text == "malloc") return {};
    return "--buffers takes malloc or ncclMemAlloc, not '" + std::string(text) + "'";
  }
  if (letter == kDevice) {
    options->cuda = text == "cuda";
    if (options->cuda || text == "host") return {};
    return "--device takes host or cuda, not '" + std::string(text) + "'";
  }
  options->noMmap = text == "nommap";
  if (options->noMmap || text == "default") return {};
  return "--malloc takes default or nommap, not '" + std::string(text) + "'";
}

// What this program has no timed loop for: their "off" is accepted, anything else would be a lie.
std::string refuseGpuOption(int letter, const char* text) {
  const std::optional<long> value = parseWhole(text);
  if (value == 0 || (letter == 'V' && value)) return {};
  if (letter == 'G') return "-G (CUDA graphs) is not measured here: only -G 0 works";
  return "-D (kernels that communicate by themselves) is not measured here: only -D 0 works";
}

std::string setFlagOrText(int letter, const char* text, Options* options) {
  switch (letter) {
    case 'J':
      options->json = text;
      return {};
    case kVs:
      options->vs = text;
      return {};
    case kLibrary:
      options->library = text;
      return {};
    case kIdFile:
      options->idFile = text;
      return {};
    case kCsv:
      options->csv = true;
      return {};
    case kBound:
      options->bound = true;
      return {};
    case kAsync:
      options->async = true;
      return {};
    case kLinks:
      options->links = true;
      return {};
    default:
      options->pin = false;
      return {};
  }
}

std::string setStreamNull(const char* text, Options* options) {
  const std::optional<long> value = parseWhole(text);
  if (value != 0 && value != 1) return "-y takes 0 or 1, not '" + std::string(text) + "'";
  options->async = *value == 0;
  return {};
}

// One option; empty when it was understood.
std::string apply(int letter, const char* text, Options* options) {
  for (const WholeNumber& number : kWholeNumbers) {
    if (number.letter == letter) return setWhole(number, text, options);
  }
  switch (letter) {
    case 'b':
    case 'e':
    case 'i':
      return setSize(letter, text, options);
    case 'o':
      return setOps(text, options);
    case 'd':
      return setTypes(text, options);
    case 'y':
      return setStreamNull(text, options);
    case 'G':
    case 'D':
    case 'V':
      return refuseGpuOption(letter, text);
    case kBuffers:
    case kMalloc:
    case kDevice:
      return setChoice(letter, text, options);
    default:
      return setFlagOrText(letter, text, options);
  }
}

// What no single option shows.
std::string contradiction(const Options& o) {
  if (o.minBytes > o.maxBytes) return "-b is larger than -e: there is no size to measure";
  if (o.stepFactor == 1 && o.stepBytes == 0) return "-i 0 with -f 1 never gets from -b to -e";
  if (o.stepFactor > 1 && o.minBytes == 0) return "-b 0 with -f never gets larger";
  if (o.perIteration && o.perIterationSkip >= o.iterations) return "-K must be smaller than -n";
  if (o.registration == 2 && !o.buffersOfLibrary) {
    return "-R 2 (symmetric windows) needs --buffers ncclMemAlloc";
  }
  if (!o.vs.empty() && (o.async || o.threads > 1 || o.devices > 1)) {
    return "--vs compares blocking calls of one rank for each process: not with --async, -y 0, -t, "
           "-g";
  }
  if (!o.vs.empty() && (o.aggregated > 1 || o.blocking || o.perIteration)) {
    return "--vs has one timed loop for every library: not with -m, -z or -I";
  }
  if (o.cuda && !o.vs.empty() && o.vs.find('/') == std::string::npos) {
    return "--device cuda compares with a libnccl: --vs takes its path, not a peer's name";
  }
  if (o.cuda && o.async) return "--device cuda always enqueues: not with --async, -y 0";
  if (!o.vs.empty() && o.links) return "--vs compares sides on one host, which have no links";
  if (!o.vs.empty() && !o.json.empty()) return "--vs writes text or --csv, not -J";
  return {};
}

}  // namespace

std::optional<size_t> parseSize(std::string_view text) {
  const std::string copy(text);
  char* end = nullptr;
  errno = 0;
  const double number = std::strtod(copy.c_str(), &end);
  if (end == copy.c_str() || errno == ERANGE || !std::isfinite(number) || number < 0) {
    return std::nullopt;
  }
  double unit = 1;
  const std::string_view suffix(end);
  if (suffix == "K" || suffix == "k") {
    unit = 1024.0;
  } else if (suffix == "M" || suffix == "m") {
    unit = 1024.0 * 1024;
  } else if (suffix == "G" || suffix == "g") {
    unit = 1024.0 * 1024 * 1024;
  } else if (!suffix.empty()) {
    return std::nullopt;
  }
  const double bytes = number * unit;
  if (bytes != std::floor(bytes) || bytes > 1e15) return std::nullopt;
  return static_cast<size_t>(bytes);
}

Parsed parseOptions(int argc, char** argv) {
  Parsed parsed;
  if (argc < 2) {
    parsed.error = "which collective? flexlink_perf COLLECTIVE [options]; -h for help";
    return parsed;
  }
  const std::string_view first = argv[1];
  if (first == "-h" || first == "--help") return parsed;
  Options options;
  const std::optional<Collective> collective = findCollective(first);
  if (!collective) {
    parsed.error = "'" + std::string(first) +
                   "' is no collective; one of: all_reduce, all_gather, " +
                   "broadcast, reduce_scatter, reduce, alltoall, gather, scatter, sendrecv";
    return parsed;
  }
  options.collective = *collective;
  optind = 2;
  opterr = 0;
  int letter = 0;
  while ((letter = getopt_long(argc, argv, kLetters, kLongOptions, nullptr)) != -1) {
    if (letter == 'h') return parsed;
    if (letter == '?') parsed.error = std::string("unknown option ") + argv[optind - 1];
    if (letter == ':') parsed.error = std::string(argv[optind - 1]) + " needs a value";
    if (parsed.error.empty()) parsed.error = apply(letter, optarg ? optarg : "", &options);
    if (!parsed.error.empty()) return parsed;
  }
  if (optind < argc) parsed.error = std::string("unexpected argument '") + argv[optind] + "'";
  if (parsed.error.empty()) parsed.error = contradiction(options);
  if (parsed.error.empty()) parsed.options = options;
  return parsed;
}

}  // namespace flexlink::perf
