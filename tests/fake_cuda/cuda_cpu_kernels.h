// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels' own source, compiled for the CPU and run thread by thread: what a GPU would do,
// but for its compiler.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "device/cuda/kernels/fold.h"

namespace flexlink::test {

// Names of all kernels of kernels/list.h, as in the fatbin.
std::vector<std::string> cpuKernelNames();

// Runs the kernel as `threads` threads, one after the other; false when there is none of that name.
bool runOnCpu(const std::string& name, const cuda::FoldPack& pack, size_t threads);

}  // namespace flexlink::test
