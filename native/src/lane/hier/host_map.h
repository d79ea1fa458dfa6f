// SPDX-License-Identifier: Apache-2.0
// Which rank of a communicator is on which host, and who carries what between hosts. Pure; the same
// on all ranks but for `rank`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace flexlink {

// Hosts are numbered by their lowest rank, the ranks of a host ("local ranks") in rank order. A
// rail is one local rank of each host: rail j has the j-th. There are as many rails as the host
// with the fewest ranks has ranks.
struct HostMap {
  int rank = 0;                           // this one
  std::vector<std::vector<int>> ranksOf;  // by host
  std::vector<int> hostOf;                // by rank
  std::vector<int> localOf;               // by rank: its place among the ranks of its host
  int rails = 1;

  int ranks() const { return static_cast<int>(hostOf.size()); }
  int hosts() const { return static_cast<int>(ranksOf.size()); }
  int host() const { return hostOf[static_cast<size_t>(rank)]; }
  int local() const { return localOf[static_cast<size_t>(rank)]; }
  const std::vector<int>& neighbours() const { return ranksOf[static_cast<size_t>(host())]; }
  bool sameHost(int other) const { return hostOf[static_cast<size_t>(other)] == host(); }
  bool onRail() const { return local() < rails; }
  // Is every rank alone on its host?
  bool scattered() const { return hosts() == ranks(); }
};

// `hashes`: by rank, equal for ranks of one host.
HostMap makeHostMap(int rank, const std::vector<uint64_t>& hashes);

// Rank `from` cannot share memory with rank `to`, although both seem to be on one host.
struct Denial {
  int from = 0;
  int to = 0;
};

// The hashes after ranks of one host that cannot share memory were set apart: each rank, in rank
// order, goes to the first group of its host with whose ranks it can.
std::vector<uint64_t> setApart(std::vector<uint64_t> hashes, const std::vector<Denial>& denials);

}  // namespace flexlink
