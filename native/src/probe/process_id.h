// SPDX-License-Identifier: Apache-2.0
// Which process this is and whether another one still runs: pid alone is not enough, as pids are
// used again; pid, start time, boot and pid namespace together are.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace flexlink {

struct ProcessId {
  uint32_t pid = 0;
  uint64_t startTime = 0;     // clock ticks since boot; 0: not known
  uint64_t pidNamespace = 0;  // inode; 0: not known
  std::array<uint8_t, 16> bootId{};
};

enum class Liveness { kAlive, kDead, kUnknown };

// Field 22 of the text of /proc/<pid>/stat; 0 where the text is not of that form or the process has
// ended and only waits for its parent. Field 2, a name, may hold spaces and parentheses.
uint64_t startTimeOfStat(const char* stat);

// "6e0b1f3a-…" of /proc/sys/kernel/random/boot_id as 16 bytes; zeros where it is not a UUID.
std::array<uint8_t, 16> bootIdOfText(const char* text);

ProcessId thisProcess();

// `other` as seen from `self`. Unknown: it lived on this boot in another pid namespace.
Liveness livenessOf(const ProcessId& other, const ProcessId& self);

}  // namespace flexlink
