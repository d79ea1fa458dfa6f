// SPDX-License-Identifier: Apache-2.0
// One process of the plain benchmark: opens the library, hands over the unique id, runs its
// threads.
#pragma once

#include <string>
#include <vector>

#include "control.h"
#include "options.h"
#include "place.h"

namespace flexlink::perf {

// `page`: shared with the other processes, or null when a launcher started them and they meet by
// the id alone. Returns the exit status.
int runProcess(const Options& options, const Place& place, SharedPage* page,
               const std::vector<std::string>& arguments);

// Starts options.processes copies by fork and waits for them; when one ends badly, ends the rest.
int launchProcesses(const Options& options, const std::vector<std::string>& arguments);

}  // namespace flexlink::perf
