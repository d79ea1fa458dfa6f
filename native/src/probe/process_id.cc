// SPDX-License-Identifier: Apache-2.0
// Reads /proc for who a process is.
#include "probe/process_id.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/small_file.h"

namespace flexlink {
namespace {

int hexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

uint64_t startTimeAt(const char* path) {
  char stat[1024];
  readSmallFile(path, stat, sizeof(stat));
  return startTimeOfStat(stat);
}

}  // namespace

uint64_t startTimeOfStat(const char* stat) {
  const char* at = std::strrchr(stat, ')');
  if (at == nullptr) return 0;
  // After the name come field 3 (the state) and on, each after one space.
  if (at[1] == ' ' && (at[2] == 'Z' || at[2] == 'X')) return 0;
  for (int field = 3; field <= 22; ++field) {
    at = std::strchr(at + 1, ' ');
    if (at == nullptr) return 0;
  }
  return std::strtoull(at + 1, nullptr, 10);
}

std::array<uint8_t, 16> bootIdOfText(const char* text) {
  std::array<uint8_t, 16> id{};
  size_t digits = 0;
  for (; *text != '\0' && *text != '\n'; ++text) {
    if (*text == '-') continue;
    const int digit = hexDigit(*text);
    if (digit < 0 || digits == 32) return {};
    id[digits / 2] = static_cast<uint8_t>(id[digits / 2] << 4 | digit);
    ++digits;
  }
  return digits == 32 ? id : std::array<uint8_t, 16>{};
}

ProcessId thisProcess() {
  ProcessId id;
  id.pid = static_cast<uint32_t>(::getpid());
  id.startTime = startTimeAt("/proc/self/stat");
  struct stat space {};
  if (::stat("/proc/self/ns/pid", &space) == 0) id.pidNamespace = space.st_ino;
  char boot[64];
  readSmallFile("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
  id.bootId = bootIdOfText(boot);
  return id;
}

Liveness livenessOf(const ProcessId& other, const ProcessId& self) {
  if (other.bootId != self.bootId) return Liveness::kDead;
  if (other.pidNamespace != self.pidNamespace) return Liveness::kUnknown;
  char path[32];
  std::snprintf(path, sizeof(path), "/proc/%u/stat", other.pid);
  return startTimeAt(path) == other.startTime ? Liveness::kAlive : Liveness::kDead;
}

}  // namespace flexlink
