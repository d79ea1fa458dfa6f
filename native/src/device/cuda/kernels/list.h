// SPDX-License-Identifier: Apache-2.0
// Every kernel: the rows that kernels.cu compiles, the device looks up by name, and tests compare
// with device/host.
#pragma once

#include "device/cuda/kernels/fold.h"

namespace flexlink::cuda {

// type, op, Num, Op. Signed and unsigned integers of one size add and multiply alike, so these rows
// are there once; bitwise ops do not care for the size of an element.
#define FLEXLINK_UNSIGNED_KERNELS(X, type, T) \
  X(type, sum, Direct<T>, Sum)                \
  X(type, prod, Direct<T>, Prod)              \
  X(type, premulsum, Direct<T>, PreMulSum)
#define FLEXLINK_ORDERED_KERNELS(X, type, T, Divides) \
  X(type, max, Direct<T>, Max)                        \
  X(type, min, Direct<T>, Min)                        \
  X(type, avg, Direct<Divides>, Avg<T>)
#define FLEXLINK_SMALL_FLOAT_KERNELS(X, type, Format, Order) \
  X(type, sum, Format, Sum)                                  \
  X(type, prod, Format, Prod)                                \
  X(type, premulsum, Format, PreMulSum)                      \
  X(type, max, Direct<Order>, MaxBits)                       \
  X(type, min, Direct<Order>, MinBits)                       \
  X(type, avg, Format, Avg<float>)

#define FLEXLINK_FOLD_KERNELS(X)                                  \
  FLEXLINK_UNSIGNED_KERNELS(X, uint8, uint8_t)                    \
  FLEXLINK_UNSIGNED_KERNELS(X, uint32, uint32_t)                  \
  FLEXLINK_UNSIGNED_KERNELS(X, uint64, uint64_t)                  \
  FLEXLINK_UNSIGNED_KERNELS(X, float32, float)                    \
  FLEXLINK_UNSIGNED_KERNELS(X, float64, double)                   \
  FLEXLINK_ORDERED_KERNELS(X, int8, int8_t, uint8_t)              \
  FLEXLINK_ORDERED_KERNELS(X, uint8, uint8_t, uint8_t)            \
  FLEXLINK_ORDERED_KERNELS(X, int32, int32_t, uint32_t)           \
  FLEXLINK_ORDERED_KERNELS(X, uint32, uint32_t, uint32_t)         \
  FLEXLINK_ORDERED_KERNELS(X, int64, int64_t, uint64_t)           \
  FLEXLINK_ORDERED_KERNELS(X, uint64, uint64_t, uint64_t)         \
  FLEXLINK_ORDERED_KERNELS(X, float32, float, float)              \
  FLEXLINK_ORDERED_KERNELS(X, float64, double, double)            \
  FLEXLINK_SMALL_FLOAT_KERNELS(X, float16, Half, int16_t)         \
  FLEXLINK_SMALL_FLOAT_KERNELS(X, bfloat16, Brain, int16_t)       \
  FLEXLINK_SMALL_FLOAT_KERNELS(X, float8e4m3, Float8e4m3, int8_t) \
  FLEXLINK_SMALL_FLOAT_KERNELS(X, float8e5m2, Float8e5m2, int8_t) \
  X(uint8, bitand, Direct<uint8_t>, BitAnd)                       \
  X(uint8, bitor, Direct<uint8_t>, BitOr)                         \
  X(uint8, bitxor, Direct<uint8_t>, BitXor)

}  // namespace flexlink::cuda
