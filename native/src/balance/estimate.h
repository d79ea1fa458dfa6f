// SPDX-License-Identifier: Apache-2.0
// How long a rank is at work with one call, before it is made. Pure. Rough on purpose: it knows
// bytes, copies and hops, not which protocol a lane will choose.
#pragma once

#include "balance/path_model.h"
#include "base/types.h"

namespace flexlink {

// The ranks of a communicator as one of them sees them.
struct EstimateRanks {
  int all = 1;
  int onHost = 1;  // this one among them
  int hosts = 1;
};

struct EstimateCall {
  Collective kind = Collective::kAllReduce;
  double bytes = 0;   // count times type, as in the call
  bool away = false;  // of calls with one peer: it is on another host
};

// Of each: the rate and the latency of one step.
struct EstimatePaths {
  PathModel memory;  // copies and folds of one rank, meetings of the ranks of a host
  PathModel wire;    // one rank to other hosts, all its links together
};

// Seconds, > 0 also for no bytes. What is copied and what goes over the wire overlap in truth, in
// long calls: at most a factor of 2. The calls of a group are one thread's work: their sum.
double estimateSeconds(const EstimateCall& call, const EstimateRanks& ranks,
                       const EstimatePaths& paths);

}  // namespace flexlink
