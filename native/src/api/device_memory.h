// SPDX-License-Identifier: Apache-2.0
// ncclMemAlloc and windows where buffers are a GPU's (memory.cc has the rest of them).
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace flexlink {

// On the GPU that the calling thread has chosen.
Result<void*> allocateOnGpu(size_t bytes);

// False: it is none of those.
Result<bool> freeOnGpu(void* pointer);

// Fills what peers need to reach this rank's part of a window.
Status shareOnGpu(const Communicator& comm, WindowPart* part);

// The parts of a window that lie in other processes, opened for as long as this lives.
class OpenParts {
 public:
  // From now on each part's address is one of this process. The error names the rank whose memory
  // this rank's GPU does not reach.
  static Result<std::unique_ptr<OpenParts>> open(const Communicator& comm,
                                                 std::vector<WindowPart>* parts);
  OpenParts(const OpenParts&) = delete;
  OpenParts& operator=(const OpenParts&) = delete;
  ~OpenParts();

 private:
  explicit OpenParts(std::shared_ptr<CudaDevice> gpu) : gpu_(std::move(gpu)) {}

  const std::shared_ptr<CudaDevice> gpu_;
  std::vector<void*> opened_;
};

}  // namespace flexlink
