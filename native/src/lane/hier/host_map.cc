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

}  // namespace flexlink
