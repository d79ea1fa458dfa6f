// SPDX-License-Identifier: Apache-2.0
// FLEXLINK_LANES: which lanes the user wants, and their shares if he fixes them. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "balance/weights.h"
#include "base/status.h"

namespace flexlink {

struct LaneWish {
  struct Named {
    std::string lane;   // vendor, memory, message or hier
    uint32_t part = 0;  // of the bytes, in proportion to the others'; 0: not fixed
  };
  std::vector<Named> lanes;  // empty: those that are on by themselves

  bool names(std::string_view lane) const;
  // Parts are given: all lanes have one.
  bool fixed() const { return !lanes.empty() && lanes.front().part != 0; }
};

// "vendor,memory" or "vendor:3,memory:1". The error says which part is wrong and what is expected.
Result<LaneWish> parseLanes(std::string_view text);

// The vendor's part of kWholeWeight; all of it where parts are not fixed.
uint16_t vendorPart(const LaneWish& wish);

// Of {vendor, ours}, where the vendor has so many parts.
Weights sharesOf(uint16_t vendorPart);

}  // namespace flexlink
