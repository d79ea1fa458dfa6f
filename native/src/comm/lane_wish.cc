// SPDX-License-Identifier: Apache-2.0
#include "comm/lane_wish.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace flexlink {
namespace {

constexpr std::array kLanes = {"vendor", "memory", "message", "hier"};
constexpr uint32_t kMostParts = 1024;

Status wrong(std::string_view part, const char* why) {
  return makeStatus(Code::kInvalidUsage,
                    "FLEXLINK_LANES: '%.*s' %s; expected names of lanes with commas (vendor, "
                    "memory, message, hier), all or none of them with a part, e.g. "
                    "vendor:3,memory:1",
                    static_cast<int>(std::min<size_t>(part.size(), 100)), part.data(), why);
}

Result<LaneWish::Named> parseOne(std::string_view part) {
  LaneWish::Named named;
  const size_t colon = part.find(':');
  named.lane = part.substr(0, colon);
  if (std::find(kLanes.begin(), kLanes.end(), named.lane) == kLanes.end()) {
    return wrong(part, "is no lane that there is");
  }
  if (colon == std::string_view::npos) return named;
  const char* end = part.data() + part.size();
  auto read = std::from_chars(part.data() + colon + 1, end, named.part);
  bool whole = read.ec == std::errc() && read.ptr == end;
  if (!whole || named.part == 0 || named.part > kMostParts) {
    return wrong(part, "has no part from 1 to 1024");
  }
  return named;
}

}  // namespace

bool LaneWish::names(std::string_view lane) const {
  return std::any_of(lanes.begin(), lanes.end(), [&](const Named& n) { return n.lane == lane; });
}

Result<LaneWish> parseLanes(std::string_view text) {
  LaneWish wish;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view part = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    FLEXLINK_TRY_ASSIGN(LaneWish::Named named, parseOne(part));
    if (wish.names(named.lane)) return wrong(part, "is there twice");
    if (!wish.lanes.empty() && (wish.lanes.front().part == 0) != (named.part == 0)) {
      return wrong(part, named.part == 0 ? "has no part" : "has a part, others have none");
    }
    wish.lanes.push_back(std::move(named));
  }
  return wish;
}

uint16_t vendorPart(const LaneWish& wish) {
  if (!wish.fixed()) return kWholeWeight;
  uint32_t all = 0, part = 0;
  for (const LaneWish::Named& each : wish.lanes) {
    all += each.part;
    if (each.lane == "vendor") part = each.part;
  }
  return static_cast<uint16_t>(part * kWholeWeight / all);
}

Weights sharesOf(uint16_t vendorPart) {
  Weights weights = allOn(vendorPart * 2u >= kWholeWeight ? 0 : 1, 2);
  weights.parts[0] = vendorPart;
  weights.parts[1] = static_cast<uint16_t>(kWholeWeight - vendorPart);
  return weights;
}

}  // namespace flexlink
