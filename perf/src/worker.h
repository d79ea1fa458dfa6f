// SPDX-License-Identifier: Apache-2.0
// One rank of one side of a comparison: a process that does what the controller (versus.h) says
// over a Unix socket and sleeps in between. The same for every library; perf/peers has the others'
// mains.
//
// Lines of text; every command has one answer:
//   hello RANK PID NAME                              first, from the worker
//   buffers MAXBYTES OFLIBRARY REGISTRATION UNALIGN  -> ok
//   case COLLECTIVE TYPE OP ROOT BYTES INPLACE       -> ok | no TEXT
//   run ITERATIONS                                   -> time SECONDS   (this rank's average)
//   check SEED                                       -> wrong ELEMENTS
//   copy                                             -> time SECONDS   (Workload::copySeconds)
//   quit                                             -> (the worker ends)
#pragma once

#include <string>

#include "backend.h"
#include "control.h"

namespace flexlink::perf {

// How the controller tells a worker where to call. Not FLEXLINK_*: the library reads those.
inline constexpr char kSocketVariable[] = "FLPERF_SOCKET";
inline constexpr char kPageVariable[] = "FLPERF_PAGE";  // file of the SharedPage
inline constexpr char kRankVariable[] = "FLPERF_RANK";  // not set under a peer's own launcher
inline constexpr char kRanksVariable[] = "FLPERF_RANKS";
inline constexpr char kPinVariable[] = "FLPERF_PIN";        // 0 or 1
inline constexpr char kDeviceVariable[] = "FLPERF_DEVICE";  // "cuda": our workers' rank on its GPU

// Environment of a worker, or the end of the process with a text if there is none.
std::string workerSetting(const char* name);

// Pins, as all sides do: before the library starts, by the rank on this host.
void pinWorker(int localRank);

// Serves until "quit". Returns the exit status.
int serveWorker(Backend* backend);

}  // namespace flexlink::perf
