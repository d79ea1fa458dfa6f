// SPDX-License-Identifier: Apache-2.0
// On which device communicators, memory and streams are that a call makes: the process's own
// (FLEXLINK_DEVICE, api/mode.h), or the one whose functions flexlinkFunctionOn has given.
#pragma once

#include "base/status.h"

namespace flexlink {

// In own mode: what the calling thread makes is on a GPU.
bool makesOnGpu() noexcept;

// In own mode: may the calling thread make communicators and memory?
Status mayCreate();

}  // namespace flexlink
