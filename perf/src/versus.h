// SPDX-License-Identifier: Apache-2.0
// The comparison --vs: starts the ranks of both sides once, then lets them run in turn, A B A B,
// and stops the processes of the side whose turn it is not, so that nothing of it takes a core.
#pragma once

#include "options.h"

namespace flexlink::perf {

// Runs the whole comparison and prints it. Returns the exit status.
int runVersus(const Options& options);

// A rank of our side, or of the libnccl that --vs names.
int runNcclWorker(const Options& options);

}  // namespace flexlink::perf
