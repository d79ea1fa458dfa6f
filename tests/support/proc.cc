// SPDX-License-Identifier: Apache-2.0
// What /proc says about a process.
#include "support/proc.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "support/board.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

std::string procPath(pid_t pid, const char* name) {
  return "/proc/" + std::to_string(pid) + "/" + name;
}

int countNames(const std::string& folder) { return static_cast<int>(namesIn(folder).size()); }

std::set<std::string> socketInodes(pid_t pid) {
  std::set<std::string> out;
  for (const std::string& fd : namesIn(procPath(pid, "fd"))) {
    char target[256];
    const std::string link = procPath(pid, "fd/") + fd;
    const ssize_t n = readlink(link.c_str(), target, sizeof(target) - 1);
    if (n <= 0) continue;
    const std::string text(target, static_cast<size_t>(n));
    if (text.starts_with("socket:[")) out.insert(text.substr(8, text.size() - 9));
  }
  return out;
}

}  // namespace

std::vector<std::string> namesIn(const std::string& folder) {
  std::vector<std::string> out;
  DIR* dir = opendir(folder.c_str());
  if (dir == nullptr) return out;
  while (const dirent* entry = readdir(dir)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") out.push_back(name);
  }
  closedir(dir);
  return out;
}

ProcessCounts countsOf(pid_t pid) {
  ProcessCounts counts;
  counts.fds = countNames(procPath(pid, "fd"));
  counts.threads = countNames(procPath(pid, "task"));
  std::ifstream maps(procPath(pid, "maps"));
  // A sanitizer maps anonymous memory of its own all the time.
  for (std::string line; std::getline(maps, line);) {
    if (!kSanitized || line.find('/') != std::string::npos) ++counts.mappings;
  }
  std::ifstream status(procPath(pid, "status"));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) counts.rssKiB = std::stol(line.substr(6));
  }
  return counts;
}

std::string mappingsText(pid_t pid) {
  std::ifstream maps(procPath(pid, "maps"));
  std::ostringstream out;
  out << maps.rdbuf();
  return out.str();
}

double processCpuSeconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

std::vector<int> listeningPorts(pid_t pid) {
  const std::set<std::string> inodes = socketInodes(pid);
  std::vector<int> ports;
  for (const char* table : {"net/tcp", "net/tcp6"}) {
    std::ifstream file(procPath(pid, table));
    std::string line;
    std::getline(file, line);  // headings
    while (std::getline(file, line)) {
      std::istringstream words(line);
      std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
      words >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >>
          timeout >> inode;
      constexpr const char* kListen = "0A";
      if (state != kListen || inodes.count(inode) == 0) continue;
      ports.push_back(std::stoi(local.substr(local.find(':') + 1), nullptr, 16));
    }
  }
  return ports;
}

int connectLocal(int port) {
  // The listener may be bound to the address of one interface only.
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return -1;
  int found = -1;
  for (const ifaddrs* entry = list; entry != nullptr && found < 0; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    const int family = entry->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    sockaddr_storage address{};
    const socklen_t length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    memcpy(&address, entry->ifa_addr, length);
    if (family == AF_INET) {
      reinterpret_cast<sockaddr_in*>(&address)->sin_port = htons(static_cast<uint16_t>(port));
    } else {
      reinterpret_cast<sockaddr_in6*>(&address)->sin6_port = htons(static_cast<uint16_t>(port));
    }
    const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), length) == 0) {
      found = fd;
    } else {
      close(fd);
    }
  }
  freeifaddrs(list);
  return found;
}

}  // namespace ranktest
