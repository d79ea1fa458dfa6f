// SPDX-License-Identifier: Apache-2.0
// Stage 1: which bytes on which path, so that the slowest path is done as early as possible. Pure
// and deterministic. It believes the model; what really happened corrects it in feedback.h.
#pragma once

#include <span>
#include <vector>

#include "balance/path_model.h"
#include "base/status.h"

namespace flexlink {

inline constexpr int kMostPaths = 16;

struct Fit {
  double seconds = 0;         // until the last path is done
  std::vector<double> bytes;  // for each path; their sum is what was asked for
};

// All used paths finish together; a path whose latency alone is longer carries nothing. A cap
// bounds the bytes that cross it until then by its rate. Where caps leave a choice, paths that
// come earlier are filled first. kInvalidArgument, with the reason, for numbers that are none.
Result<Fit> fit(std::span<const PathModel> paths, std::span<const Cap> caps, double bytes);

// The most bytes/s that the paths carry together, latencies aside.
Result<double> fullRate(std::span<const PathModel> paths, std::span<const Cap> caps);

// Bytes below which one path carries all: it is done before any other has begun to deliver.
double aloneBelow(std::span<const PathModel> paths);

}  // namespace flexlink
