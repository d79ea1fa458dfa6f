// SPDX-License-Identifier: Apache-2.0
// A thread for one piece of set-up that may take long, while the control thread goes on.
#pragma once

#include <functional>

#include "base/status.h"

namespace flexlink {

// Runs it on a thread that ends with it; no signal is handled there.
Status runAside(std::function<void()> job);

}  // namespace flexlink
