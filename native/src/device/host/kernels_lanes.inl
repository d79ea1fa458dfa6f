// SPDX-License-Identifier: Apache-2.0
// Vectors of one instruction set, as GCC and Clang spell them on every CPU, and the few things that
// the language cannot say: non-temporal stores and F16C. Included only by kernels_<isa>.cc, inside
// their anonymous namespace: nothing here may have external linkage, or the linker could keep
// the AVX-512 copy of a function for everybody.
#pragma once

#define FLEXLINK_INLINE inline __attribute__((always_inline))

// Elements of T in `kLanes` lanes.
template <typename T, int kLanes>
struct VecOf {
  typedef T Type __attribute__((vector_size(kLanes * sizeof(T))));
};
template <typename T, int kLanes>
using Vec = typename VecOf<T, kLanes>::Type;

// A full register of T.
template <typename T>
inline constexpr int kLanesOf = kRegisterBytes / static_cast<int>(sizeof(T));
template <typename T>
using Reg = Vec<T, kLanesOf<T>>;

template <typename V>
FLEXLINK_INLINE V loadVec(const char* from) {
  V v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

template <typename V>
FLEXLINK_INLINE void storeVec(char* to, V v) {
  __builtin_memcpy(to, &v, sizeof(v));
}

// memcpy by a call: where a compiler sees that `bytes` is small it would copy with `rep movs`,
// which takes longer to start than the whole copy.
FLEXLINK_INLINE void copyBytes(char* to, const char* from, size_t bytes) {
  asm("" : "+r"(bytes));
  __builtin_memcpy(to, from, bytes);
}

// Past the caches; `to` is aligned to the vector's size. Elsewhere than on x86 a plain store.
template <typename V>
FLEXLINK_INLINE void streamVec(char* to, V v) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)v);
    return;
  }
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(V) == 32) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)v);
    return;
  }
#endif
#if defined(__x86_64__)
  if constexpr (sizeof(V) == 16) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to), (__m128i)v);
    return;
  }
#endif
  storeVec(to, v);
}

// Streamed data is visible to other threads, in order with later stores, only after this.
FLEXLINK_INLINE void streamFence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}
