// SPDX-License-Identifier: Apache-2.0
// Opens and clears the run folder. Everything goes through the folder's descriptor: a name that is
// changed under us leads nowhere else.
#include "probe/run_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>

#include "flexlink/probe.h"

namespace flexlink {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kKeepDead = 3600 * kSecond;
constexpr uint64_t kKeepUnknown = 7 * 24 * 3600 * kSecond;
constexpr size_t kKeepFiles = 256;

uint64_t nanosOf(const timespec& time) {
  return static_cast<uint64_t>(time.tv_sec) * kSecond + static_cast<uint64_t>(time.tv_nsec);
}

uint64_t realtimeNanos() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return nanosOf(now);
}

bool isOurFolder(const char* path, uint32_t uid) {
  struct stat status {};
  return ::stat(path, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == uid;
}

// Gives the pages back that the process never used: of a megabyte some ten pages stay.
void releaseUnused(int file, const FlexlinkProbeHeader& header) {
  constexpr off_t kPage = 4096;
  // Slots, and the places of links, are taken in order before one is taken again.
  const auto used = static_cast<off_t>(std::min<uint64_t>(header.opened, FLEXLINK_PROBE_SLOTS));
  const off_t slots = FLEXLINK_PROBE_HEADER_BYTES + used * off_t{sizeof(FlexlinkProbeSlot)};
  const off_t rings = FLEXLINK_PROBE_RINGS_OFFSET +
                      used * off_t{FLEXLINK_PROBE_RECORDS * sizeof(FlexlinkProbeRecord)};
  const auto punch = [file](off_t from, off_t to) {
    from = (from + kPage - 1) / kPage * kPage;
    // Where the file system cannot, the file stays as large as it is.
    if (from < to) ::fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, to - from);
  };
  punch(slots, FLEXLINK_PROBE_RINGS_OFFSET);
  punch(rings, FLEXLINK_PROBE_LINKS_OFFSET);
  const auto taken =
      static_cast<off_t>(std::min<uint64_t>(header.linksTaken, FLEXLINK_PROBE_LINKS));
  punch(FLEXLINK_PROBE_LINKS_OFFSET + taken * off_t{sizeof(FlexlinkProbeLink)},
        FLEXLINK_PROBE_FILE_BYTES);
}

// Notes the first time that the owner was found dead; later calls read it back.
uint64_t goneSince(int file, FlexlinkProbeHeader* header) {
  if (header->goneUnixNs == 0) {
    releaseUnused(file, *header);
    header->goneUnixNs = realtimeNanos();
    const ssize_t done = ::pwrite(file, &header->goneUnixNs, sizeof(header->goneUnixNs),
                                  offsetof(FlexlinkProbeHeader, goneUnixNs));
    if (done != sizeof(header->goneUnixNs)) return 0;  // cannot be kept: goes first
  }
  return header->goneUnixNs;
}

// The last time that the owner wrote the clock pair, as far as this boot's clocks tell.
uint64_t lastSign(const FlexlinkProbeHeader& header) {
  timespec monotonic;
  clock_gettime(CLOCK_MONOTONIC, &monotonic);
  const uint64_t now = nanosOf(monotonic);
  const uint64_t last = header.clock.lastNs;
  return last < now ? realtimeNanos() - (now - last) : realtimeNanos();
}

FoundFile inspect(int folder, const char* name, const ProcessId& self) {
  FoundFile found{name, Liveness::kUnknown, realtimeNanos(), 0};
  const Fd file(::openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return found;
  found.bytes = static_cast<uint64_t>(status.st_blocks) * 512;
  FlexlinkProbeHeader header{};
  const ssize_t got = ::pread(file.get(), &header, sizeof(header), 0);
  if (got != sizeof(header) || header.magic != FLEXLINK_PROBE_MAGIC ||
      header.layout != FLEXLINK_PROBE_LAYOUT) {
    // Another version's, or never finished: only its age and the name speak.
    ProcessId owner = self;
    unsigned long long start = 0;
    if (std::sscanf(name, "probe-%u-%llu", &owner.pid, &start) == 2) owner.startTime = start;
    found.owner = livenessOf(owner, self) == Liveness::kAlive ? Liveness::kAlive : Liveness::kDead;
    found.goneSince = nanosOf(status.st_mtim);
    return found;
  }
  ProcessId owner{header.pid, header.startTime, header.pidNamespace, {}};
  std::copy(std::begin(header.bootId), std::end(header.bootId), owner.bootId.begin());
  found.owner = livenessOf(owner, self);
  if (found.owner == Liveness::kDead) {
    found.goneSince = goneSince(file.get(), &header);
    if (::fstat(file.get(), &status) == 0)
      found.bytes = static_cast<uint64_t>(status.st_blocks) * 512;
  }
  if (found.owner == Liveness::kUnknown) found.goneSince = lastSign(header);
  return found;
}

bool isProbeName(const char* name) {
  const size_t length = std::strlen(name);
  return length > 10 && std::strncmp(name, "probe-", 6) == 0 &&
         std::strcmp(name + length - 4, ".flx") == 0;
}

// An eighth of the file system: a container's small /dev/shm must stay free for others.
uint64_t bytesToKeep(int folder) {
  struct statvfs space {};
  if (::fstatvfs(folder, &space) != 0) return 0;
  return uint64_t{space.f_blocks} * space.f_frsize / 8;
}

}  // namespace

std::string chooseRunFolder(const RunFolderWish& wish) {
  std::string path = wish.setting;
  if (path.empty() && wish.xdgIsOurs && wish.xdgRuntimeDir.front() == '/')
    path = wish.xdgRuntimeDir + "/flexlink";
  if (path.empty()) path = "/dev/shm/flexlink-" + std::to_string(wish.uid);
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::string runFolder(const std::string& setting) {
  const uint32_t uid = ::geteuid();
  const char* xdg = std::getenv("XDG_RUNTIME_DIR");
  if (xdg == nullptr || *xdg == '\0') return chooseRunFolder({setting, "", false, uid});
  return chooseRunFolder({setting, xdg, isOurFolder(xdg, uid), uid});
}

Result<Fd> openRunFolder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return makeStatus(Code::kSystem, "mkdir %s: %s", path.c_str(), std::strerror(errno));
  Fd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder)
    return makeStatus(Code::kSystem, "open %s as a folder, not through a link: %s", path.c_str(),
                      std::strerror(errno));
  struct stat status {};
  if (::fstat(folder.get(), &status) != 0)
    return makeStatus(Code::kSystem, "fstat %s: %s", path.c_str(), std::strerror(errno));
  if (status.st_uid != ::geteuid())
    return makeStatus(Code::kSystem, "%s belongs to user %u, not to user %u", path.c_str(),
                      status.st_uid, ::geteuid());
  if ((status.st_mode & 0077) != 0)
    return makeStatus(Code::kSystem, "%s has mode %04o, so others may enter it; chmod 700 it",
                      path.c_str(), status.st_mode & 07777);
  return folder;
}

std::vector<std::string> staleFiles(std::vector<FoundFile> files, const KeepLimits& limits) {
  std::sort(files.begin(), files.end(), [](const FoundFile& a, const FoundFile& b) {
    return a.goneSince != b.goneSince ? a.goneSince > b.goneSince : a.name < b.name;
  });
  std::vector<std::string> stale;
  uint64_t keptBytes = 0;
  size_t keptFiles = 0;
  for (const FoundFile& file : files) {
    if (file.owner == Liveness::kAlive) continue;
    const uint64_t age = limits.now > file.goneSince ? limits.now - file.goneSince : 0;
    if (file.owner == Liveness::kUnknown) {
      if (age > kKeepUnknown) stale.push_back(file.name);
      continue;
    }
    const bool full = keptFiles == kKeepFiles || keptBytes + file.bytes > limits.bytes;
    if (age > kKeepDead || full) {
      stale.push_back(file.name);
    } else {
      keptBytes += file.bytes;
      ++keptFiles;
    }
  }
  return stale;
}

void clearRunFolder(int folder, const ProcessId& self, bool all) {
  // A descriptor of its own: fdopendir takes it over and moves its position.
  const int list = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (list < 0) return;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(list), ::closedir);
  if (entries == nullptr) {
    ::close(list);
    return;
  }
  std::vector<FoundFile> files;
  while (const dirent* entry = ::readdir(entries.get())) {
    if (isProbeName(entry->d_name)) files.push_back(inspect(folder, entry->d_name, self));
  }
  const KeepLimits limits{realtimeNanos(), all ? 0 : bytesToKeep(folder)};
  for (const std::string& name : staleFiles(std::move(files), limits))
    ::unlinkat(folder, name.c_str(), 0);
}

}  // namespace flexlink
