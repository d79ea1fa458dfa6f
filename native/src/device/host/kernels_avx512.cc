// SPDX-License-Identifier: Apache-2.0
// The kernels for x86-64 with AVX-512 F, BW, DQ and VL.
// Reached only through its table; native/CMakeLists.txt gives this file its flags by its name.
#include "device/host/kernels_table.h"

#if defined(__GNUC__) && !defined(__clang__)
// GCC's own intrinsics start from registers that are undefined on purpose (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace flexlink {
namespace {
inline constexpr int kRegisterBytes = 64;
#include "device/host/kernels_loops.inl"
}  // namespace

constinit const KernelTable kAvx512Kernels = makeTable("avx512");

}  // namespace flexlink
