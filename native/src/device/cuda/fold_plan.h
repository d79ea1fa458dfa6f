// SPDX-License-Identifier: Apache-2.0
// Which kernel folds, over which part of the buffers by whole vectors. Pure: no driver here.
#pragma once

#include <string>

#include "base/status.h"
#include "device/cuda/kernels/fold.h"
#include "device/host/kernels.h"

namespace flexlink {

// A row of kernels/list.h.
struct KernelChoice {
  DataType type;
  ReduceOp op;
};

// Signed and unsigned integers share what they can, see kernels/list.h. The op must fit the type.
KernelChoice kernelOf(DataType type, ReduceOp op);

// As it is called in the fatbin, e.g. "flexlink_float16_sum".
std::string kernelName(KernelChoice kernel);

struct FoldPlan {
  KernelChoice kernel;
  cuda::FoldPack pack;  // the kernel's only parameter
  unsigned blocks;      // of cuda::kThreadsPerBlock threads
};

// Two for each multiprocessor, which is what it holds of most kernels: more would wait for them.
// `limit`: the user's (NCCL_MAX_CTAS); below 1: none.
unsigned mostBlocks(int multiprocessors, int64_t limit);

// For args.count > 0. kInvalidArgument: more buffers than a kernel takes. At most `maxBlocks`
// blocks.
Status planFold(const FoldArgs& args, unsigned maxBlocks, FoldPlan* plan);

}  // namespace flexlink
