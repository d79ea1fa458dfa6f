// SPDX-License-Identifier: Apache-2.0
// The GPUs that this process uses: made once each, by the first communicator that is to be on one.
#pragma once

#include <memory>

#include "device/cuda/cuda_device.h"

namespace flexlink {

// `ordinal`: as the driver counts; -1: that of the calling thread's context. It lives as long as
// the process. Starts CUDA: for calls of the program, not for the control thread.
Result<std::shared_ptr<CudaDevice>> cudaDevice(int ordinal);

}  // namespace flexlink
