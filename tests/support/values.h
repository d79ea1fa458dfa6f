// SPDX-License-Identifier: Apache-2.0
// Numbers of all twelve types as bits, and what a reduction must give: a left fold in rank order,
// written plainly and independently of the library's kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "flexlink/nccl.h"

namespace ranktest {

inline constexpr ncclDataType_t kAllTypes[] = {
    ncclInt8,    ncclUint8,   ncclInt32,   ncclUint32,   ncclInt64,      ncclUint64,
    ncclFloat16, ncclFloat32, ncclFloat64, ncclBfloat16, ncclFloat8e4m3, ncclFloat8e5m2};

// The operators as tests name them; kPreMulSum stands for one made by ncclRedOpCreatePreMulSum.
enum class Op { kSum = 0, kProd = 1, kMax = 2, kMin = 3, kAvg = 4, kPreMulSum = 5 };
inline constexpr Op kAllOps[] = {Op::kSum, Op::kProd, Op::kMax, Op::kMin, Op::kAvg, Op::kPreMulSum};

size_t typeBytes(ncclDataType_t type);
const char* typeText(ncclDataType_t type);
const char* opText(Op op);
bool isInteger(ncclDataType_t type);
bool isSigned(ncclDataType_t type);

// The bits of one element, in the low bytes.
using Bits = uint64_t;

Bits loadBits(const void* at, ncclDataType_t type);
void storeBits(void* at, ncclDataType_t type, Bits bits);

// A small integer as an element; exact for |value| ≤ 8 in every type (unsigned types: modulo 2^n).
Bits fromInteger(int64_t value, ncclDataType_t type);

// A float type's element as a number, and back with one rounding to nearest even.
double toNumber(Bits bits, ncclDataType_t type);
Bits fromFloat(float value, ncclDataType_t type);

// fold over ranks, left to right, then the op's last step; scalars only for kPreMulSum. divisor: of
// kAvg, where it is not the number of inputs.
Bits foldBits(const std::vector<Bits>& inputs, ncclDataType_t type, Op op,
              const std::vector<Bits>& scalars, size_t divisor = 0);

// A well mixed number that depends on all arguments: the source of every pseudo-random choice.
uint64_t mix(uint64_t a, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0);

// An arbitrary element: any integer; floats finite, never −0, small enough that no fold overflows.
Bits randomBits(uint64_t key, ncclDataType_t type, Op op);

}  // namespace ranktest
