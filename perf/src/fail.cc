// SPDX-License-Identifier: Apache-2.0
// The one way out of fail.h.
#include "fail.h"

#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>

namespace flexlink::perf {
namespace {
std::atomic<int> gRank{-1};              // set before threads start; read by whichever thread fails
std::atomic<void (*)()> gHook{nullptr};  // taken by the first thread that fails
}  // namespace

void setFailRank(int rank) { gRank.store(rank, std::memory_order_relaxed); }

void setFailHook(void (*hook)()) { gHook.store(hook, std::memory_order_relaxed); }

void fail(const char* format, ...) {
  char text[2048];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  const int rank = gRank.load(std::memory_order_relaxed);
  std::fflush(stdout);
  if (rank >= 0) {
    std::fprintf(stderr, "flexlink_perf: rank %d: %s\n", rank, text);
  } else {
    std::fprintf(stderr, "flexlink_perf: %s\n", text);
  }
  std::fflush(stderr);
  if (void (*hook)() = gHook.exchange(nullptr)) hook();
  _exit(1);  // no destructors: other threads may sit inside the library
}

}  // namespace flexlink::perf
