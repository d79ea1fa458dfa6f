// SPDX-License-Identifier: Apache-2.0
// What /proc says about a process: descriptors, threads, mappings, memory, CPU time, ports. Tests
// of leaks and of idle costs compare these numbers; nothing here calls FlexLink.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace ranktest {

struct ProcessCounts {
  int fds = 0;
  int threads = 0;
  int mappings = 0;
  long rssKiB = 0;
};

// -1 in every field that could not be read.
ProcessCounts countsOf(pid_t pid);

// CPU time, user and system, of all threads of the calling process; seconds.
double processCpuSeconds();

// TCP ports (IPv4 and IPv6) on which a process listens.
std::vector<int> listeningPorts(pid_t pid);

// Names in a folder, without . and ..
std::vector<std::string> namesIn(const std::string& folder);

// A connection to a local port: a blocking descriptor, or -1.
int connectLocal(int port);

// What is mapped, one line each: for the text of a failed comparison.
std::string mappingsText(pid_t pid);

}  // namespace ranktest
