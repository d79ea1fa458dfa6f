// SPDX-License-Identifier: Apache-2.0
// The compiled CUDA kernels: a fatbin inside this library, or a file of FLEXLINK_CUDA_KERNELS; the
// driver takes either as it is.
#pragma once

#include <cstddef>

namespace flexlink {

struct KernelImage {
  const void* fatbin;  // null: there are none
  size_t bytes;
  const char* text;  // for which GPUs, by which nvcc; or why there are none
};

// Any thread; what it points to lives as long as the library. The file is read at the first call.
KernelImage kernelImage();

}  // namespace flexlink
