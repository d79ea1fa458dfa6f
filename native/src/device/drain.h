// SPDX-License-Identifier: Apache-2.0
// Waiting for a stream where nothing else is to be done meanwhile: at the end of what uses it.
#pragma once

#include "device/device.h"

namespace flexlink {

// Until all that was enqueued is done, or has failed. No wait for a peer may be among it: then that
// takes as long as its copies. The error says that it took more than a second.
Status drain(Device& device, StreamHandle stream);

}  // namespace flexlink
