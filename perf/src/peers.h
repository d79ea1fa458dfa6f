// SPDX-License-Identifier: Apache-2.0
// How each side of --vs is started: our own workers for anything with the NCCL API, and for other
// libraries what perf/peers/prepare.py says after it has installed and built them.
#pragma once

#include "side.h"

namespace flexlink::perf {

// A peer's name has no slash; everything with one is a library's path.
bool isLibraryPath(const std::string& peer);

StartPlan planOfLibrary(const std::string& path, const std::string& title);

// Ends the program with prepare.py's own words when a peer cannot be had.
StartPlan planOfPeer(const std::string& peer, int ranks);

}  // namespace flexlink::perf
