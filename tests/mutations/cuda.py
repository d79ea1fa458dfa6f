# SPDX-License-Identifier: Apache-2.0
"""Faults of what a GPU is told and of what its kernels compute."""

from mutation import Mutation

MUTATIONS = (
    Mutation(
        "same bits: a GPU rounds ties of float16 away from zero",
        "native/src/device/cuda/kernels/element.h",
        "const uint32_t odd = (magnitude >> kShift) & 1;",
        "const uint32_t odd = 1;",
        "test_unit",
        "CudaKernelValues.*",
    ),
    Mutation(
        "same bits: a GPU's float8 overflows where the host saturates",
        "native/src/device/cuda/kernels/element.h",
        "Format::round(magnitude > kMax ? kMax : magnitude)",
        "Format::round(magnitude)",
        "test_unit",
        "CudaKernelValues.*",
    ),
    Mutation(
        "same bits: a GPU folds from the second source on",
        "native/src/device/cuda/kernels/fold.h",
        "acc[i] = k == 0 ? x : Op::combine(acc[i], x);",
        "acc[i] = k == 0 ? x : Op::combine(x, acc[i]);",
        "test_unit",
        "*CudaKernels*:CudaKernelValues.*",
    ),
    Mutation(
        "right or an error: elements before the first whole vector are left out",
        "native/src/device/cuda/kernels/fold.h",
        "e < pack.head + pack.tail",
        "e < pack.tail",
        "test_unit",
        "*CudaKernels*",
    ),
    Mutation(
        "a good guest: the caller's CUDA context is another one afterwards",
        "native/src/device/cuda/context_scope.h",
        "if (changed_) (void)driver_.ctxSetCurrent(callers_);",
        "(void)changed_;",
        "test_unit",
        "Cuda.*",
    ),
    Mutation(
        "right or an error: memory of another process is taken from its allocation's start",
        "native/src/device/cuda/cuda_device.cc",
        "handle.offset = addressOf(pointer) - base;",
        "handle.offset = 0;",
        "test_unit",
        "Cuda.*",
    ),
    Mutation(
        "honest capability: a function that the driver lacks is taken for a success",
        "native/src/drivers/libcuda.h",
        "address == nullptr ? kCudaNotSupported : address(arguments...)",
        "address == nullptr ? kCudaSuccess : address(arguments...)",
        "test_unit",
        "Libcuda.*",
    ),
)
