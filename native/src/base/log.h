// SPDX-License-Identifier: Apache-2.0
// The only way for the library to say something: NCCL_DEBUG, its _SUBSYS, _FILE and _TIMESTAMP_* as
// in NCCL. Not for errors, which are values (status.h): a line here is a hint beside them.
#pragma once

#include <atomic>
#include <cstdint>

namespace flexlink {

enum class LogLevel : int { kNone, kVersion, kWarn, kInfo, kAbort, kTrace };

enum class LogSubsystem : uint32_t {
  kInit = 1,
  kColl = 2,
  kP2p = 4,
  kShm = 8,
  kNet = 16,
  kGraph = 32,
  kTuning = 64,
  kEnv = 128,
  kAlloc = 256,
  kCall = 512,
  kProxy = 1024,
  kNvls = 2048,
  kBootstrap = 4096,
  kReg = 8192,
  kProfile = 16384,
  kRas = 32768,
  kAll = ~0u,
};

// Writes one line with one write(2); any thread, no lock of ours, errno is kept. Prints nothing
// where logEnabled says no. kVersion lines carry no prefix, as in NCCL.
void logMessage(LogLevel level, LogSubsystem subsystem, const char* file, int line,
                const char* format, ...) __attribute__((format(printf, 5, 6)));

// Reads the environment again (ncclResetDebugInit). A line under way in another thread goes to the
// old or to the new place, never to a closed one.
void logReset();

namespace internal {
inline constexpr uint64_t kLogUnread = ~uint64_t{0};

// Level in the low 8 bits, subsystems above. Relaxed: it carries no other data, and the
// descriptor to write to has its own atomic (log.cc).
extern std::atomic<uint64_t> logFilter;
uint64_t logReadFilter();
}  // namespace internal

// Warnings (and the version line) pass whatever the subsystem, as in NCCL.
inline bool logEnabled(LogLevel level, LogSubsystem subsystem) {
  uint64_t filter = internal::logFilter.load(std::memory_order_relaxed);
  if (__builtin_expect(filter == internal::kLogUnread, 0)) filter = internal::logReadFilter();
  if (level == LogLevel::kNone || static_cast<uint64_t>(level) > (filter & 0xff)) return false;
  return level <= LogLevel::kWarn || (filter >> 8 & static_cast<uint32_t>(subsystem)) != 0;
}

#define FLEXLINK_LOG_(level, subsystem, ...)                                     \
  do {                                                                           \
    if (::flexlink::logEnabled(level, subsystem))                                \
      ::flexlink::logMessage(level, subsystem, __FILE__, __LINE__, __VA_ARGS__); \
  } while (0)
#define FLEXLINK_WARN(...) \
  FLEXLINK_LOG_(::flexlink::LogLevel::kWarn, ::flexlink::LogSubsystem::kAll, __VA_ARGS__)
// The subsystem is written without its enum: FLEXLINK_INFO(kInit, "rank %d", rank).
#define FLEXLINK_INFO(subsystem, ...) \
  FLEXLINK_LOG_(::flexlink::LogLevel::kInfo, ::flexlink::LogSubsystem::subsystem, __VA_ARGS__)
#define FLEXLINK_TRACE(subsystem, ...) \
  FLEXLINK_LOG_(::flexlink::LogLevel::kTrace, ::flexlink::LogSubsystem::subsystem, __VA_ARGS__)

}  // namespace flexlink
