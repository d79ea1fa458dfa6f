// SPDX-License-Identifier: Apache-2.0
// Adding and copying on host memory: what a lane asks for, whatever the CPU. The instruction set is
// chosen once, at run time. No allocation, no lock; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace flexlink {

// dsts[j][i] = fold over k = 0..nSrcs-1, in this order, of srcs[k][i]; then the op's last step.
// 16- and 8-bit floats are accumulated in float32 and rounded once, to nearest even (float8 then
// saturates). Integer sums and products wrap around; kAvg divides by `divisor` (integers: toward
// zero, after the wrapped sum); kPreMulSum rounds each product before it is added. Max and min give
// one of the operands: the left one where both are equal, any one with NaN. A single source is
// handed on unchanged by sum, prod, max, min and the bitwise ops (integers only). The bits are the
// same on every CPU, but for NaN payloads. Any dst may be any of the srcs (same start address);
// other overlap is not allowed. No alignment is needed; streaming needs that of the type.
struct FoldArgs {
  void* const* dsts;  // nDsts pointers, 1..16
  int nDsts;
  const void* const* srcs;  // nSrcs pointers, 1..any
  int nSrcs;
  size_t count;  // elements
  DataType type;
  ReduceOp op;
  int divisor;              // kAvg only: ranks, >= 1
  const uint64_t* scalars;  // kPreMulSum only: nSrcs scalars, the bits of `type`, low bytes
  uint32_t streamMask;      // bit j: write dsts[j] past the caches (non-temporal)
};
void fold(const FoldArgs& args);

// Copies `bytes` from src to each dst. A dst may equal src; no other overlap.
void copyTo(void* const* dsts, int nDsts, const void* src, size_t bytes, uint32_t streamMask);

// "avx512", "avx2" or "portable"; FLEXLINK_SIMD restricts it (settings.h).
const char* kernelsName();

}  // namespace flexlink
