// SPDX-License-Identifier: Apache-2.0
// copy.h with the baseline instruction set only.
#include "copy.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace flexlink::perf {

void copyPlain(char* to, const char* from, size_t bytes) {
  std::memcpy(to, from, bytes);
  asm volatile("" : : "r"(to) : "memory");  // the copy is its own purpose
}

void copyStreaming(char* to, const char* from, size_t bytes) {
#if defined(__x86_64__)
  const size_t head = (64 - reinterpret_cast<uintptr_t>(to) % 64) % 64;
  if (bytes < head + 64) return copyPlain(to, from, bytes);
  std::memcpy(to, from, head);
  size_t done = head;
  for (; done + 64 <= bytes; done += 64) {
    const auto* source = reinterpret_cast<const __m128i*>(from + done);
    auto* target = reinterpret_cast<__m128i*>(to + done);
    const __m128i a = _mm_loadu_si128(source);
    const __m128i b = _mm_loadu_si128(source + 1);
    const __m128i c = _mm_loadu_si128(source + 2);
    const __m128i d = _mm_loadu_si128(source + 3);
    _mm_stream_si128(target, a);
    _mm_stream_si128(target + 1, b);
    _mm_stream_si128(target + 2, c);
    _mm_stream_si128(target + 3, d);
  }
  _mm_sfence();
  std::memcpy(to + done, from + done, bytes - done);
#else
  copyPlain(to, from, bytes);
#endif
}

}  // namespace flexlink::perf
