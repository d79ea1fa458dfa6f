// SPDX-License-Identifier: Apache-2.0
// Chooses the table of kernels once for the process and sends the calls through it. No arithmetic.
#include "device/host/kernels.h"

#include <cstring>
#include <string>

#include "base/settings.h"
#include "device/host/kernels_table.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace flexlink {
namespace {

#if defined(__x86_64__)
// Whether the CPU has what native/CMakeLists.txt lets kernels_avx2.cc use, and the kernel saves it.
bool hasAvx2() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  // Clang's __builtin_cpu_supports does not know F16C.
  const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
  return f16c && __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
}

bool hasAvx512() {
  return hasAvx2() && __builtin_cpu_supports("avx512f") != 0 &&
         __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
         __builtin_cpu_supports("avx512vl") != 0;
}
#endif

const KernelTable& chosen() {
  static const KernelTable& table = widestKernels(settings().simd.c_str());
  return table;
}

bool handsOnOneSource(ReduceOp op) { return op != ReduceOp::kAvg && op != ReduceOp::kPreMulSum; }

}  // namespace

const KernelTable* findKernels(const char* name) {
  if (strcmp(name, kPortableKernels.name) == 0) return &kPortableKernels;
#if defined(__x86_64__)
  if (strcmp(name, kAvx2Kernels.name) == 0 && hasAvx2()) return &kAvx2Kernels;
  if (strcmp(name, kAvx512Kernels.name) == 0 && hasAvx512()) return &kAvx512Kernels;
#endif
  return nullptr;
}

const KernelTable& widestKernels(const char* limit) {
  static constexpr const char* kWidestFirst[] = {"avx512", "avx2", "portable"};
  bool allowed = limit[0] == '\0';
  for (const char* name : kWidestFirst) {
    allowed = allowed || strcmp(name, limit) == 0;
    const KernelTable* table = findKernels(name);
    if (allowed && table != nullptr) return *table;
  }
  return kPortableKernels;
}

void fold(const FoldArgs& args) {
  if (args.count == 0) return;
  if (args.nSrcs == 1 && handsOnOneSource(args.op)) {
    const size_t bytes = args.count * typeSize(args.type);
    return copyTo(args.dsts, args.nDsts, args.srcs[0], bytes, args.streamMask);
  }
  chosen().fold[static_cast<int>(args.type)][static_cast<int>(args.op)](args);
}

void copyTo(void* const* dsts, int nDsts, const void* src, size_t bytes, uint32_t streamMask) {
  if (bytes == 0 || (nDsts == 1 && dsts[0] == src)) return;
  if (nDsts == 1 && streamMask == 0) {
    memcpy(dsts[0], src, bytes);
    return;
  }
  chosen().copy(dsts, nDsts, src, bytes, streamMask);
}

const char* kernelsName() { return chosen().name; }

}  // namespace flexlink
