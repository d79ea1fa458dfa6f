// SPDX-License-Identifier: Apache-2.0
#include "lane/hier/host_map.h"

#include <algorithm>
#include <map>

namespace flexlink {

HostMap makeHostMap(int rank, const std::vector<uint64_t>& hashes) {
  HostMap map;
  map.rank = rank;
  std::map<uint64_t, int> known;
  for (size_t one = 0; one < hashes.size(); ++one) {
    auto [found, isNew] = known.try_emplace(hashes[one], map.hosts());
    if (isNew) map.ranksOf.emplace_back();
    auto& ranks = map.ranksOf[static_cast<size_t>(found->second)];
    map.hostOf.push_back(found->second);
    map.localOf.push_back(static_cast<int>(ranks.size()));
    ranks.push_back(static_cast<int>(one));
  }
  auto fewest = std::min_element(map.ranksOf.begin(), map.ranksOf.end(),
                                 [](const auto& a, const auto& b) { return a.size() < b.size(); });
  if (fewest != map.ranksOf.end()) map.rails = static_cast<int>(fewest->size());
  return map;
}

std::vector<uint64_t> setApart(std::vector<uint64_t> hashes, const std::vector<Denial>& denials) {
  struct Group {
    uint64_t host;
    uint64_t hash;
    std::vector<int> ranks;
  };
  std::vector<Group> groups;
  auto denied = [&](int a, int b) {
    return std::any_of(denials.begin(), denials.end(), [&](const Denial& denial) {
      return (denial.from == a && denial.to == b) || (denial.from == b && denial.to == a);
    });
  };
  for (size_t one = 0; one < hashes.size(); ++one) {
    const int rank = static_cast<int>(one);
    auto fits = std::find_if(groups.begin(), groups.end(), [&](const Group& group) {
      return group.host == hashes[one] &&
             std::none_of(group.ranks.begin(), group.ranks.end(),
                          [&](int other) { return denied(rank, other); });
    });
    if (fits == groups.end()) {
      // The first group of a host keeps its hash.
      auto more = std::count_if(groups.begin(), groups.end(),
                                [&](const Group& group) { return group.host == hashes[one]; });
      uint64_t hash = hashes[one] ^ (0x9e3779b97f4a7c15u * static_cast<uint64_t>(more));
      fits = groups.insert(groups.end(), {hashes[one], hash, {}});
    }
    fits->ranks.push_back(rank);
    hashes[one] = fits->hash;
  }
  return hashes;
}

}  // namespace flexlink
