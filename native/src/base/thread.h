// SPDX-License-Identifier: Apache-2.0
// Threads of ours: detached, and deaf to signals, which are the program's.
#pragma once

#include <functional>

#include "base/status.h"

namespace flexlink {

// Runs `body` on a thread of its own, which ends with it. `name`: for debuggers, a literal of
// at most 15 characters; `what`: for people, as in "the control thread".
Status startThread(const char* name, const char* what, std::function<void()> body);

}  // namespace flexlink
