// SPDX-License-Identifier: Apache-2.0
// Makes the probe file. Its space is reserved first: a full file system is an error here, and never
// a SIGBUS in the middle of an operation.
#include "probe/probe_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/fd.h"
#include "base/small_file.h"
#include "probe/process_id.h"
#include "probe/run_folder.h"
#include "probe/ticks.h"

namespace flexlink {
namespace {

constexpr uint32_t kLibraryVersion = 100;  // 0.1.0
constexpr int kCopiesInOneProcess = 8;  // the library may be loaded more than once (dlmopen, tests)

struct NewFile {
  Fd fd;
  std::string name;
};

Result<NewFile> createFile(int folder, const ProcessId& self) {
  for (int copy = 0; copy < kCopiesInOneProcess; ++copy) {
    char name[64];
    const char* format = copy == 0 ? "probe-%u-%llu.flx" : "probe-%u-%llu-%d.flx";
    std::snprintf(name, sizeof(name), format, self.pid,
                  static_cast<unsigned long long>(self.startTime), copy);
    Fd fd(::openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (fd) return NewFile{std::move(fd), name};
    if (errno != EEXIST)
      return makeStatus(Code::kSystem, "create %s: %s", name, std::strerror(errno));
  }
  return makeStatus(Code::kSystem, "all %d names for probe-%u-%llu exist already",
                    kCopiesInOneProcess, self.pid, static_cast<unsigned long long>(self.startTime));
}

// 0 or an errno. Frees the space of dead processes' files and tries again where there is none left.
int reserve(int folder, int file, const ProcessId& self) {
  const int error = ::posix_fallocate(file, 0, FLEXLINK_PROBE_FILE_BYTES);
  if (error != ENOSPC && error != EDQUOT) return error;
  clearRunFolder(folder, self, true);
  return ::posix_fallocate(file, 0, FLEXLINK_PROBE_FILE_BYTES);
}

void describeLayout(FlexlinkProbeHeader& header) {
  header.layout = FLEXLINK_PROBE_LAYOUT;
  header.headerBytes = FLEXLINK_PROBE_HEADER_BYTES;
  header.fileBytes = FLEXLINK_PROBE_FILE_BYTES;
  header.slotsOffset = FLEXLINK_PROBE_HEADER_BYTES;
  header.slotBytes = sizeof(FlexlinkProbeSlot);
  header.slotCount = FLEXLINK_PROBE_SLOTS;
  header.lanesOffset = offsetof(FlexlinkProbeSlot, lanes);
  header.laneBytes = sizeof(FlexlinkProbeLane);
  header.laneCount = FLEXLINK_PROBE_LANES;
  header.ringsOffset = FLEXLINK_PROBE_RINGS_OFFSET;
  header.recordBytes = sizeof(FlexlinkProbeRecord);
  header.recordCount = FLEXLINK_PROBE_RECORDS;
  header.linksOffset = FLEXLINK_PROBE_LINKS_OFFSET;
  header.linkBytes = sizeof(FlexlinkProbeLink);
  header.linkCount = FLEXLINK_PROBE_LINKS;
}

void describeProcess(FlexlinkProbeHeader& header, const ProcessId& self) {
  header.pid = self.pid;
  header.uid = ::geteuid();
  header.startTime = self.startTime;
  header.pidNamespace = self.pidNamespace;
  std::memcpy(header.bootId, self.bootId.data(), sizeof(header.bootId));
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  header.createdUnixNs =
      static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  header.libraryVersion = kLibraryVersion;
  char name[FLEXLINK_PROBE_PROGRAM_BYTES];
  readSmallFile("/proc/self/comm", name, sizeof(name));
  std::memcpy(header.program, name, std::strcspn(name, "\n"));
  char host[FLEXLINK_PROBE_HOST_BYTES] = "";
  if (::gethostname(host, sizeof(host) - 1) == 0) std::memcpy(header.host, host, sizeof(host));
}

void describeClock(FlexlinkProbeHeader& header, const ClockPair& first, bool counter) {
  header.clockKind = counter ? FLEXLINK_PROBE_CLOCK_COUNTER : FLEXLINK_PROBE_CLOCK_MONOTONIC;
  const ClockPair last = readClockPair(counter);
  header.clock = {0, first.ticks, first.nanos, last.ticks, last.nanos, {}};
}

}  // namespace

Result<ProbeFile> ProbeFile::create(const std::string& folderPath) {
  const bool counter = counterIsSteady();
  const ClockPair first = readClockPair(counter);
  const ProcessId self = thisProcess();
  if (self.startTime == 0)
    return makeStatus(Code::kSystem, "read /proc/self/stat: no start time; is /proc mounted?");
  FLEXLINK_TRY_ASSIGN(const Fd folder, openRunFolder(folderPath));
  clearRunFolder(folder.get(), self, false);
  FLEXLINK_TRY_ASSIGN(NewFile file, createFile(folder.get(), self));
  int error = reserve(folder.get(), file.fd.get(), self);
  void* bytes = MAP_FAILED;
  if (error == 0) {
    // Populated: a page fault in the middle of an operation would be a system call in disguise.
    bytes = ::mmap(nullptr, FLEXLINK_PROBE_FILE_BYTES, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_POPULATE, file.fd.get(), 0);
    if (bytes == MAP_FAILED) error = errno;
  }
  if (error != 0) {
    ::unlinkat(folder.get(), file.name.c_str(), 0);
    return makeStatus(Code::kSystem, "reserve %u bytes in %s: %s", FLEXLINK_PROBE_FILE_BYTES,
                      folderPath.c_str(), std::strerror(error));
  }
  ProbeFile result;
  result.bytes_ = static_cast<std::byte*>(bytes);
  result.path_ = folderPath + "/" + file.name;
  describeLayout(result.header());
  describeProcess(result.header(), self);
  describeClock(result.header(), first, counter);
  // Partner: none but order. A reader that sees the magic sees a finished header.
  std::atomic_ref<uint64_t>(result.header().magic)
      .store(FLEXLINK_PROBE_MAGIC, std::memory_order_release);
  return result;
}

ProbeFile::ProbeFile(ProbeFile&& other) noexcept
    : bytes_(std::exchange(other.bytes_, nullptr)), path_(std::move(other.path_)) {}

ProbeFile::~ProbeFile() {
  if (bytes_ != nullptr) ::munmap(bytes_, FLEXLINK_PROBE_FILE_BYTES);
}

void ProbeFile::replaceInChild() const {
  if (bytes_ == nullptr) return;
  ::mmap(bytes_, FLEXLINK_PROBE_FILE_BYTES, PROT_READ | PROT_WRITE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

}  // namespace flexlink
