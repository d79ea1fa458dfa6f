// SPDX-License-Identifier: Apache-2.0
// Pinned memory with several users: ranks that are threads of one process map one segment together,
// and a driver pins an address once.
#pragma once

#include <cstddef>
#include <memory>

#include "device/device.h"

namespace flexlink {

// By the first user's device, which is kept until the last one has unpinned it: what is pinned for
// one GPU of a process is for all of them. The same start and size each time. Any thread.
Status pinShared(const std::shared_ptr<Device>& device, void* begin, size_t bytes);
Status unpinShared(void* begin);

}  // namespace flexlink
