// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/fold_plan.h"

#include <algorithm>
#include <cstdint>

namespace flexlink {
namespace {

using cuda::FoldPack;
using cuda::kVectorBytes;

bool handsOnOneSource(ReduceOp op) { return op != ReduceOp::kAvg && op != ReduceOp::kPreMulSum; }

// A copy is a sum of one source: elements of the largest size that every address and the length
// fit.
FoldArgs asCopy(const FoldArgs& args, size_t alignment) {
  FoldArgs copy = args;
  const size_t bytes = args.count * typeSize(args.type);
  copy.op = ReduceOp::kSum;
  copy.type = DataType::kUint8;
  if (alignment % 4 == 0 && bytes % 4 == 0) copy.type = DataType::kUint32;
  if (alignment % 8 == 0 && bytes % 8 == 0) copy.type = DataType::kUint64;
  copy.count = bytes / typeSize(copy.type);
  return copy;
}

// What the low bits of all addresses say.
struct Addresses {
  uintptr_t bits = 0;    // or of all
  uintptr_t unlike = 0;  // or of their differences to the first
  uintptr_t first = 0;
  size_t alignment() const { return bits == 0 ? kVectorBytes : bits & -bits; }
};

Addresses addressesOf(const FoldArgs& args) {
  Addresses all;
  all.first = reinterpret_cast<uintptr_t>(args.dsts[0]);
  const auto add = [&](const void* pointer) {
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    all.bits |= address % kVectorBytes;
    all.unlike |= (address ^ all.first) % kVectorBytes;
  };
  for (int j = 0; j < args.nDsts; ++j) add(args.dsts[j]);
  for (int k = 0; k < args.nSrcs; ++k) add(args.srcs[k]);
  return all;
}

// Whole vectors only where every buffer lies alike: from the first dst's vector boundary on.
void divide(const FoldArgs& args, const Addresses& addresses, FoldPack* pack) {
  const size_t size = typeSize(args.type);
  pack->aligned = addresses.alignment() % size == 0;
  pack->head = args.count;
  pack->vectors = 0;
  pack->tail = 0;
  if (addresses.unlike != 0 || !pack->aligned) return;
  const size_t toBoundary = (kVectorBytes - addresses.first % kVectorBytes) % kVectorBytes / size;
  pack->head = std::min(args.count, toBoundary);
  const size_t perVector = kVectorBytes / size;
  pack->vectors = (args.count - pack->head) / perVector;
  pack->tail = (args.count - pack->head) % perVector;
}

}  // namespace

KernelChoice kernelOf(DataType type, ReduceOp op) {
  if (isBitwise(op)) return {DataType::kUint8, op};
  const bool ordered = op == ReduceOp::kMax || op == ReduceOp::kMin || op == ReduceOp::kAvg;
  if (ordered) return {type, op};
  switch (type) {
    case DataType::kInt8:
      return {DataType::kUint8, op};
    case DataType::kInt32:
      return {DataType::kUint32, op};
    case DataType::kInt64:
      return {DataType::kUint64, op};
    default:
      return {type, op};
  }
}

std::string kernelName(KernelChoice kernel) {
  return std::string("flexlink_") + typeName(kernel.type) + "_" + opName(kernel.op);
}

unsigned mostBlocks(int multiprocessors, int64_t limit) {
  const int64_t most = 2 * int64_t{multiprocessors};
  return static_cast<unsigned>(limit < 1 ? most : std::min(most, limit));
}

Status planFold(const FoldArgs& args, unsigned maxBlocks, FoldPlan* plan) {
  if (args.nSrcs > cuda::kMaxSources || args.nDsts > cuda::kMaxDestinations) {
    return makeStatus(Code::kInvalidArgument,
                      "a CUDA kernel folds at most %d buffers into %d; %d into %d were asked for",
                      cuda::kMaxSources, cuda::kMaxDestinations, args.nSrcs, args.nDsts);
  }
  const Addresses addresses = addressesOf(args);
  const bool copies = args.nSrcs == 1 && handsOnOneSource(args.op);
  FoldArgs todo = copies ? asCopy(args, addresses.alignment()) : args;
  plan->kernel = kernelOf(todo.type, todo.op);
  if (plan->kernel.type != todo.type) {  // bytes instead of wider elements, if the size differs
    todo.count *= typeSize(todo.type) / typeSize(plan->kernel.type);
    todo.type = plan->kernel.type;
  }
  FoldPack& pack = plan->pack;
  for (int k = 0; k < todo.nSrcs; ++k) pack.srcs[k] = static_cast<const char*>(todo.srcs[k]);
  for (int j = 0; j < todo.nDsts; ++j) pack.dsts[j] = static_cast<char*>(todo.dsts[j]);
  if (todo.op == ReduceOp::kPreMulSum) std::copy_n(todo.scalars, todo.nSrcs, pack.scalars);
  pack.nSrcs = todo.nSrcs;
  pack.nDsts = todo.nDsts;
  pack.divisor = todo.op == ReduceOp::kAvg ? todo.divisor : 1;
  divide(todo, addresses, &pack);
  const size_t turns = std::max(pack.vectors, pack.head + pack.tail);
  const size_t blocks = (turns + cuda::kThreadsPerBlock - 1) / cuda::kThreadsPerBlock;
  plan->blocks = static_cast<unsigned>(std::clamp<size_t>(blocks, 1, maxBlocks));
  return {};
}

}  // namespace flexlink
