// SPDX-License-Identifier: Apache-2.0
// Chooses the table of kernels once for the process and sends the calls through it. No arithmetic.
#include "device/host/kernels.h"

#include <cstdlib>
#include <cstring>

#include "device/host/kernels_table.h"

namespace flexlink {
namespace {

const KernelTable& chosen() {
  static const KernelTable& table = [&]() -> const KernelTable& {
    const char* limit = getenv("FLEXLINK_SIMD");
    bool allowed = limit == nullptr || findKernels(limit) == nullptr;
    static constexpr const char* kBestFirst[] = {"avx512", "avx2"};
    for (const char* name : kBestFirst) {
      allowed = allowed || strcmp(name, limit) == 0;
      const KernelTable* candidate = findKernels(name);
      if (allowed && candidate != nullptr) return *candidate;
    }
    return kPortableKernels;
  }();
  return table;
}

bool selectsOperand(ReduceOp op) { return op != ReduceOp::kAvg && op != ReduceOp::kPreMulSum; }

}  // namespace

const KernelTable* findKernels(const char* name) {
  if (strcmp(name, kPortableKernels.name) == 0) return &kPortableKernels;
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("f16c") != 0 &&
                    __builtin_cpu_supports("fma") != 0;
  if (strcmp(name, kAvx2Kernels.name) == 0 && avx2) return &kAvx2Kernels;
  const bool avx512 =
      avx2 && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  if (strcmp(name, kAvx512Kernels.name) == 0 && avx512) return &kAvx512Kernels;
#endif
  return nullptr;
}

void fold(const FoldArgs& args) {
  if (args.nSrcs == 1 && selectsOperand(args.op)) {
    const size_t bytes = args.count * typeSize(args.type);
    return copyTo(args.dsts, args.nDsts, args.srcs[0], bytes, args.streamMask);
  }
  chosen().fold[static_cast<int>(args.type)][static_cast<int>(args.op)](args);
}

void copyTo(void* const* dsts, int nDsts, const void* src, size_t bytes, uint32_t streamMask) {
  if (nDsts == 1 && dsts[0] == src) return;
  if (nDsts == 1 && streamMask == 0) {
    memcpy(dsts[0], src, bytes);
    return;
  }
  chosen().copy(dsts, nDsts, src, bytes, streamMask);
}

const char* kernelsName() { return chosen().name; }

}  // namespace flexlink
