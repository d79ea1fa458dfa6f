// SPDX-License-Identifier: Apache-2.0
// The compiled CUDA kernels inside this library: a fatbin that the driver takes as it is.
#pragma once

#include <cstddef>

namespace flexlink {

struct KernelImage {
  const void* fatbin;  // null where the library was built without nvcc
  size_t bytes;
  const char* text;  // for which GPUs, by which nvcc; or why there are none
};

// Any thread; lives as long as the library.
KernelImage kernelImage();

}  // namespace flexlink
