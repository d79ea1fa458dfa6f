// SPDX-License-Identifier: Apache-2.0
// The kernels of one instruction set as a table. fold() and copyTo() of kernels.h go through the
// best table of this CPU; tests compare all of them. Callers that only want numbers added use
// kernels.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device/host/kernels.h"

namespace flexlink {

inline constexpr int kReduceOps = 9;

struct KernelTable {
  const char* name;
  // Null where the type does not bear the op: floats have no bitwise ones.
  void (*fold[kDataTypes][kReduceOps])(const FoldArgs& args);
  // Several destinations, or one past the caches; memcpy serves the rest.
  void (*copy)(void* const* dsts, int nDsts, const void* src, size_t bytes, uint32_t streamMask);
};

extern const KernelTable kPortableKernels;
#if defined(__x86_64__)
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
#endif

// "avx512", "avx2" or "portable"; null when this build or this CPU lacks it.
const KernelTable* findKernels(const char* name);

// The widest table that this CPU has and that is not wider than `limit` ("": no limit).
const KernelTable& widestKernels(const char* limit);

}  // namespace flexlink
