// SPDX-License-Identifier: Apache-2.0
// The command line as a plain value: nccl-tests' options and ours. Parsing has no effect but the
// value; what cannot be measured is refused here, with the reason.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cases.h"

namespace flexlink::perf {

struct Options {
  Collective collective = Collective::kAllReduce;
  int threads = 1;             // -t
  int devices = 1;             // -g: ranks of each thread
  size_t minBytes = 32 << 20;  // -b
  size_t maxBytes = 32 << 20;  // -e
  size_t stepBytes = 1 << 20;  // -i
  int stepFactor = 1;          // -f; 1: steps of stepBytes
  int iterations = 20;         // -n
  bool iterationsGiven = false;
  int aggregated = 1;                        // -m
  int warmup = 1;                            // -w
  int cycles = 1;                            // -N; 0: for ever
  int parallelInit = 0;                      // -p
  int checks = 1;                            // -c
  std::vector<Op> ops = {Op::kSum};          // -o
  std::vector<Type> types = {Type::kFloat};  // -d
  int root = 0;                              // -r; -1: all, one after another
  int blocking = 0;                          // -z
  int timeout = 0;                           // -T, seconds without progress
  int cpuTime = 0;                           // -C
  int timestamps = 0;                        // -S
  int average = 3;                           // -a; 3: the slowest rank
  int registration = 0;                      // -R
  int ctaPolicy = -1;                        // -x
  int memory = 0;                            // -M
  int unalign = 0;                           // -u, elements
  int perIteration = 0;                      // -I
  int perIterationSkip = 0;                  // -K
  std::string json;                          // -J

  int processes = 0;  // --ranks; 0: one process, or as many as the launcher started
  bool async = false;
  bool csv = false;
  bool bound = false;
  bool links = false;
  bool pin = true;
  bool buffersOfLibrary = false;  // --buffers ncclMemAlloc
  bool cuda = false;              // --device cuda
  std::string library;
  std::string idFile;
  std::string vs;       // peer's name or a path to a libnccl
  int rounds = 21;      // pairs of --vs
  int inPlace = -1;     // --vs: -1 as users call it most
  bool noMmap = false;  // --malloc nommap
};

struct Parsed {
  std::optional<Options> options;
  std::string error;  // set when there are no options and no help was asked
};

// argv as main got it: program, COLLECTIVE, options. Help asked: neither options nor error.
Parsed parseOptions(int argc, char** argv);

// "8", "64K", "1.5M", "2G": bytes. Empty when it is no size.
std::optional<size_t> parseSize(std::string_view text);

const char* helpText();

}  // namespace flexlink::perf
