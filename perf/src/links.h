// SPDX-License-Identifier: Apache-2.0
// What each link of this process carried (--links), read from the library's own probe file by the
// public layout. The probe may be off or of another version: then it says so.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace flexlink::perf {

// One link of one rank of an open communicator.
struct LinkReading {
  int rank = 0;
  uint64_t index = 0;
  std::string name;   // "tcp:eth0"
  int64_t peer = -1;  // rank; -1: of none, a NIC that is out
  std::string host;   // the peer's
  std::string state;  // used, left, never
  std::string why;
  uint64_t bytesOut = 0;
  uint64_t bytesIn = 0;
  uint64_t replays = 0;
  double bytesPerSecond = 0;  // as the library has fitted it
  double latency = 0;         // seconds
};

// Path of the probe file that this process writes; empty: there is none.
std::string ownProbePath();

// All links in the order of rank and index. False: `error` says what is wrong with the file.
bool readLinks(const std::string& path, std::vector<LinkReading>* links, std::string* error);

// What a link did between two readings.
struct LinkUse {
  LinkReading now;
  uint64_t sent = 0;  // bytes
  uint64_t received = 0;
  uint64_t replays = 0;
  double share = -1;  // of the bytes that went to its peer; negative: none went
};

// Pure. A link that `before` lacks began at 0.
std::vector<LinkUse> linkUses(const std::vector<LinkReading>& before,
                              const std::vector<LinkReading>& after);

// Lines that begin with #; nothing where there are no links.
std::string linksText(const std::vector<LinkUse>& links);

}  // namespace flexlink::perf
