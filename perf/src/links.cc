// SPDX-License-Identifier: Apache-2.0
// The file and the arithmetic of links.h.
#include "links.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <tuple>

#include "flexlink/probe.h"
#include "format.h"

namespace flexlink::perf {
namespace {

uint64_t load(const uint64_t& word) {
  return std::atomic_ref<uint64_t>(const_cast<uint64_t&>(word)).load(std::memory_order_acquire);
}

// A structure of one piece, or false where its writer never left it alone.
template <typename T>
bool steady(const T& from, T* to) {
  constexpr int kTries = 1000;
  const auto* source = reinterpret_cast<const uint64_t*>(&from);
  auto* target = reinterpret_cast<uint64_t*>(to);
  for (int i = 0; i < kTries; ++i) {
    for (size_t word = 0; word < sizeof(T) / sizeof(uint64_t); ++word) {
      target[word] = load(source[word]);
    }
    if (to->version % 2 == 0 && load(from.version) == to->version) return true;
  }
  return false;
}

// Of any bytes: what could break a line or steer a terminal becomes a question mark.
template <size_t kBytes>
std::string textOf(const char (&bytes)[kBytes]) {
  std::string text(bytes, strnlen(bytes, kBytes));
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

const char* stateName(uint64_t state) {
  switch (state) {
    case FLEXLINK_PROBE_LINK_NEVER:
      return "never";
    case FLEXLINK_PROBE_LINK_USED:
      return "used";
    case FLEXLINK_PROBE_LINK_LEFT:
      return "left";
    default:
      return "?";
  }
}

// The probe file, mapped to be read.
class Probe {
 public:
  explicit Probe(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat info {};
    if (fd < 0 || fstat(fd, &info) != 0) {
      problem_ = std::strerror(errno);
    } else if (info.st_size < static_cast<off_t>(sizeof(FlexlinkProbeHeader))) {
      problem_ = "it is cut off";
    } else {
      size_ = static_cast<size_t>(info.st_size);
      void* bytes = mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
      if (bytes == MAP_FAILED) {
        problem_ = std::strerror(errno);
      } else {
        bytes_ = static_cast<const char*>(bytes);
        check();
      }
    }
    if (fd >= 0) close(fd);
  }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  ~Probe() {
    if (bytes_) munmap(const_cast<char*>(bytes_), size_);
  }

  const std::string& problem() const { return problem_; }

  std::vector<LinkReading> links() const {
    std::vector<LinkReading> found;
    for (uint32_t i = 0; i < FLEXLINK_PROBE_LINKS; ++i) {
      FlexlinkProbeLink link;
      const auto* from = at<FlexlinkProbeLink>(FLEXLINK_PROBE_LINKS_OFFSET) + i;
      if (load(from->state) == FLEXLINK_PROBE_LINK_FREE || !steady(*from, &link)) continue;
      const int rank = rankOf(link.owner);
      if (rank >= 0) found.push_back(readingOf(link, rank));
    }
    std::sort(found.begin(), found.end(), [](const LinkReading& a, const LinkReading& b) {
      return std::tie(a.rank, a.index) < std::tie(b.rank, b.index);
    });
    return found;
  }

 private:
  template <typename T>
  const T* at(size_t offset) const {
    return reinterpret_cast<const T*>(bytes_ + offset);
  }

  void check() {
    const auto& header = *at<FlexlinkProbeHeader>(0);
    if (load(header.magic) != FLEXLINK_PROBE_MAGIC) {
      problem_ = "it is no probe file";
    } else if (header.layout != FLEXLINK_PROBE_LAYOUT) {
      problem_ = "it has layout " + std::to_string(header.layout) + ", this program reads " +
                 std::to_string(FLEXLINK_PROBE_LAYOUT);
    } else if (size_ < FLEXLINK_PROBE_FILE_BYTES) {
      problem_ = "it is cut off";
    }
  }

  // The rank in the communicator that owns a link; negative where that is closed or another one.
  int rankOf(uint64_t owner) const {
    const auto slot = static_cast<uint32_t>(owner);
    FlexlinkProbeComm comm;
    if (slot >= FLEXLINK_PROBE_SLOTS) return -1;
    if (!steady(at<FlexlinkProbeSlot>(FLEXLINK_PROBE_HEADER_BYTES)[slot].comm, &comm)) return -1;
    const bool same = static_cast<uint32_t>(comm.generation) == owner >> 32;
    if (!same || comm.state == FLEXLINK_PROBE_STATE_CLOSED) return -1;
    return static_cast<int>(comm.rankAndRanks & INT32_MAX);
  }

  static LinkReading readingOf(const FlexlinkProbeLink& link, int rank) {
    LinkReading reading;
    reading.rank = rank;
    reading.index = link.index;
    reading.name = textOf(link.name);
    const auto peer = static_cast<uint32_t>(link.peer);
    reading.peer = peer == FLEXLINK_PROBE_NO_RANK ? -1 : int64_t{peer};
    reading.host = textOf(link.host);
    reading.state = stateName(link.state);
    reading.why = textOf(link.why);
    reading.bytesOut = link.bytesOut;
    reading.bytesIn = link.bytesIn;
    reading.replays = link.replays;
    reading.bytesPerSecond = static_cast<double>(link.bytesPerSecond);
    reading.latency = static_cast<double>(link.latencyNanos) / 1e9;
    return reading;
  }

  const char* bytes_ = nullptr;
  size_t size_ = 0;
  std::string problem_;
};

std::string lineOf(const LinkUse& use) {
  std::string to = "-";
  if (use.now.peer >= 0) {
    to = std::to_string(use.now.peer) + (use.now.host.empty() ? "" : " (" + use.now.host + ")");
  }
  std::string sent = "-", share = "-", replays = "-", rate = "-", latency = "-";
  if (use.now.state != "never") {
    sent = shortNumber(static_cast<double>(use.sent) / 1e6, 10);
    if (use.share >= 0) share = shortNumber(100 * use.share, 6);
    replays = std::to_string(use.replays);
    rate = shortNumber(use.now.bytesPerSecond / 1e9, 6);
    latency = shortNumber(use.now.latency * 1e6, 8);
  }
  char line[512];
  std::snprintf(line, sizeof line, "# %5d  %-18s  %-20s  %-5s  %10s  %6s  %7s  %6s  %8s  %s",
                use.now.rank, use.now.name.c_str(), to.c_str(), use.now.state.c_str(), sent.c_str(),
                share.c_str(), replays.c_str(), rate.c_str(), latency.c_str(), use.now.why.c_str());
  std::string text = line;
  text.erase(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

uint64_t since(uint64_t before, uint64_t now) { return now > before ? now - before : 0; }

}  // namespace

std::string ownProbePath() {
  const std::string prefix = "/probe-" + std::to_string(getpid()) + "-";
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const size_t path = line.find('/');
    if (path == std::string::npos || line.find(prefix, path) == std::string::npos) continue;
    if (line.size() > 4 && line.compare(line.size() - 4, 4, ".flx") == 0) return line.substr(path);
  }
  return {};
}

bool readLinks(const std::string& path, std::vector<LinkReading>* links, std::string* error) {
  const Probe probe(path);
  if (!probe.problem().empty()) {
    *error = path + ": " + probe.problem();
    return false;
  }
  *links = probe.links();
  return true;
}

std::vector<LinkUse> linkUses(const std::vector<LinkReading>& before,
                              const std::vector<LinkReading>& after) {
  std::map<std::pair<int, uint64_t>, const LinkReading*> old;
  for (const LinkReading& link : before) old[{link.rank, link.index}] = &link;
  std::map<std::pair<int, int64_t>, double> totals;  // bytes, by rank and peer
  std::vector<LinkUse> uses;
  for (const LinkReading& link : after) {
    const auto found = old.find({link.rank, link.index});
    const LinkReading none;
    const LinkReading& was = found == old.end() ? none : *found->second;
    uses.push_back({link, since(was.bytesOut, link.bytesOut), since(was.bytesIn, link.bytesIn),
                    since(was.replays, link.replays), -1});
    totals[{link.rank, link.peer}] += static_cast<double>(uses.back().sent);
  }
  for (LinkUse& use : uses) {
    const double total = totals[{use.now.rank, use.now.peer}];
    if (use.now.peer >= 0 && total > 0) use.share = static_cast<double>(use.sent) / total;
  }
  return uses;
}

std::string linksText(const std::vector<LinkUse>& links) {
  if (links.empty()) return {};
  std::string out =
      "#\n# Links: sent in this run; GB/s and latency as the library has fitted them\n";
  char line[512];
  std::snprintf(line, sizeof line, "# %5s  %-18s  %-20s  %-5s  %10s  %6s  %7s  %6s  %8s\n", "rank",
                "link", "to", "state", "sent", "share", "replays", "GB/s", "latency");
  out += line;
  std::snprintf(line, sizeof line, "# %5s  %-18s  %-20s  %-5s  %10s  %6s  %7s  %6s  %8s\n", "", "",
                "", "", "(MB)", "(%)", "", "", "(us)");
  out += line;
  for (const LinkUse& use : links) out += lineOf(use);
  return out;
}

}  // namespace flexlink::perf
