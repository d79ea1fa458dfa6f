// SPDX-License-Identifier: Apache-2.0
#include "link/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cmath>

#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/settings.h"

namespace flexlink {
namespace {

constexpr size_t kMostBytes = 1 << 20;

std::string hexOf(uint64_t number) {
  char text[20];
  snprintf(text, sizeof text, "%" PRIx64, number);
  return text;
}

bool isSane(const LinkProfile& link) {
  return std::isfinite(link.bytesPerSecond) && link.bytesPerSecond >= 1e3 &&
         link.bytesPerSecond <= 1e13 && link.latencyNanos >= 0 &&
         link.latencyNanos <= 60'000'000'000 && link.seenAt > 0;
}

Status wrong(const char* what) { return makeStatus(Code::kInvalidArgument, "%s", what); }

}  // namespace

// Without streams: their set-up would run at load, in every program that is preloaded.
Result<Profile> Profile::parse(const std::string& text, uint64_t fingerprint, int64_t now) {
  size_t end = text.rfind("checksum ");
  if (end == std::string::npos) return wrong("it has no checksum");
  uint64_t said = strtoull(text.c_str() + end + 9, nullptr, 16);
  if (said != fnv1a(text.substr(0, end))) return wrong("its checksum is wrong");
  std::vector<std::string> lines;
  for (size_t at = 0, stop; (stop = text.find('\n', at)) < end; at = stop + 1) {
    lines.push_back(text.substr(at, stop - at));
  }
  if (lines.size() < 2 || lines[0] + "\n" != head()) {
    return wrong("it is of another version");
  }
  if (lines[1] + "\n" != owner(fingerprint)) return wrong("it is of other NICs");
  Profile profile;
  for (size_t i = 2; i < lines.size() && profile.links_.size() < kMostLinks; ++i) {
    char link[64], peer[64];
    LinkProfile seen;
    int used = 0;
    int got = sscanf(lines[i].c_str(), "link %63s %63s %lf %" SCNd64 " %" SCNd64 "%n", link, peer,
                     &seen.bytesPerSecond, &seen.latencyNanos, &seen.seenAt, &used);
    bool whole = got == 5 && static_cast<size_t>(used) == lines[i].size();
    if (!whole || !isSane(seen)) return wrong("a line of it makes no sense");
    if (now - seen.seenAt > kStaleSeconds || seen.seenAt > now + 86400) continue;
    profile.set(link, peer, seen);
  }
  return profile;
}

std::string Profile::head() { return "flexlink-profile " + std::to_string(kVersion) + "\n"; }

std::string Profile::owner(uint64_t fingerprint) {
  return "fingerprint " + hexOf(fingerprint) + "\n";
}

std::string Profile::text(uint64_t fingerprint) const {
  std::string body = head() + owner(fingerprint);
  for (const auto& [key, link] : links_) {
    char numbers[96];
    snprintf(numbers, sizeof numbers, " %.6g %" PRId64 " %" PRId64 "\n", link.bytesPerSecond,
             link.latencyNanos, link.seenAt);
    body += "link " + key.first + " " + key.second + numbers;
  }
  return body + "checksum " + hexOf(fnv1a(body)) + "\n";
}

const LinkProfile* Profile::find(const std::string& link, const std::string& peer) const {
  auto found = links_.find({link, peer});
  return found == links_.end() ? nullptr : &found->second;
}

void Profile::set(const std::string& link, const std::string& peer, const LinkProfile& seen) {
  if (isSane(seen)) links_[{link, peer}] = seen;
}

uint64_t nicFingerprint(std::vector<std::pair<std::string, std::string>> nics) {
  std::sort(nics.begin(), nics.end());
  uint64_t hash = fnv1a("");
  for (const auto& [name, address] : nics) hash = fnv1a(name + " " + address + "\n", hash);
  return hash;
}

std::string profilePath(uint64_t fingerprint) {
  std::string folder = settings().profileCache;
  if (folder == "off") return "";
  if (folder.empty()) {
    const char* cache = getenv("XDG_CACHE_HOME");
    const char* home = getenv("HOME");
    if (cache != nullptr && cache[0] == '/') {
      folder = std::string(cache) + "/flexlink";
    } else if (home != nullptr && home[0] == '/') {
      folder = std::string(home) + "/.cache/flexlink";
    } else {
      return "";
    }
  }
  char name[40];
  snprintf(name, sizeof name, "/links-%016" PRIx64, fingerprint);
  return folder + name;
}

Profile loadProfile(const std::string& path, uint64_t fingerprint) {
  Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file) return {};
  struct stat about {};
  std::string text;
  const char* trouble = nullptr;
  if (fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode) || about.st_uid != geteuid() ||
      (about.st_mode & 022) != 0) {
    trouble = "it is not a file that this user alone may write";
  } else if (static_cast<size_t>(about.st_size) > kMostBytes) {
    trouble = "it is too long";
  } else {
    text.resize(static_cast<size_t>(about.st_size));
    ssize_t got = read(file.get(), text.data(), text.size());
    text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  }
  Result<Profile> profile = trouble != nullptr ? Result<Profile>(wrong(trouble))
                                               : Profile::parse(text, fingerprint, time(nullptr));
  if (profile.ok()) return profile.value();
  FLEXLINK_WARN("what earlier jobs saved of the links is not used: %s: %s", path.c_str(),
                profile.status().text());
  return {};
}

Status saveProfile(const std::string& path, const Profile& profile, uint64_t fingerprint) {
  const std::string folder = path.substr(0, path.rfind('/'));
  for (size_t at = folder.find('/', 1);; at = folder.find('/', at + 1)) {
    (void)mkdir(folder.substr(0, at).c_str(), 0700);  // the open below says what is wrong
    if (at == std::string::npos) break;
  }
  const std::string fresh = path + "." + std::to_string(getpid());
  const std::string text = profile.text(fingerprint);
  Fd file(open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  bool done =
      file && write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (done && rename(fresh.c_str(), path.c_str()) == 0) return {};
  Status status = makeStatus(Code::kSystem, "%s: %s", path.c_str(), strerror(errno));
  (void)unlink(fresh.c_str());
  return status;
}

}  // namespace flexlink
