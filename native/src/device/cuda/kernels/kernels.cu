// SPDX-License-Identifier: Apache-2.0
// The kernels of list.h for the GPU. Each is one loop of fold.h; no shared memory, no barrier.
#include "device/cuda/kernels/list.h"

namespace flexlink::cuda {

// A parameter of this kind stays in constant memory, also where it is indexed.
#define X(type, op, Number, Operation)                                                           \
  extern "C" __global__ void __launch_bounds__(kThreadsPerBlock)                                 \
      flexlink_##type##_##op(const __grid_constant__ FoldPack pack) {                            \
    Fold<Number, Operation>::run(pack, size_t{blockIdx.x} * blockDim.x + threadIdx.x,            \
                                 size_t{gridDim.x} * blockDim.x);                                \
  }
FLEXLINK_FOLD_KERNELS(X)
#undef X

}  // namespace flexlink::cuda
