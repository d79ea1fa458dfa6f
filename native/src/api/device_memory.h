// SPDX-License-Identifier: Apache-2.0
// ncclMemAlloc and windows where buffers are a GPU's (memory.cc has the rest of them).
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "device/opened_memory.h"

namespace flexlink {

// On the GPU that the calling thread has chosen.
Result<void*> allocateOnGpu(size_t bytes);

// False: it is none of those.
Result<bool> freeOnGpu(void* pointer);

// Fills what peers need to reach this rank's part of a window.
Status shareOnGpu(const Communicator& comm, WindowPart* part);

// Opens the parts of a window that are not this rank's: from now on, and for as long as the result
// lives, each part's address is one of this process. The error names the rank whose memory this
// rank's GPU does not reach.
Result<std::unique_ptr<OpenedMemory>> openParts(const Communicator& comm,
                                                std::vector<WindowPart>* parts);

}  // namespace flexlink
