// SPDX-License-Identifier: Apache-2.0
// Shares as integers, and the slices that follow from them: all ranks that hold the same weights
// cut every operation at the same bytes. Pure, integers only, no allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>

namespace flexlink {

inline constexpr uint32_t kWholeWeight = 1024;
inline constexpr int kMostLanes = 16;

// Plain data: it is sent to other ranks and compared.
struct Weights {
  std::array<uint16_t, kMostLanes> parts{};  // of kWholeWeight, for each lane; their sum is that
  int32_t lanes = 0;
  int32_t fastest = 0;      // the lane that carries operations below wholeBelow alone
  uint64_t wholeBelow = 0;  // bytes of a block

  bool operator==(const Weights&) const = default;
};

// All on `lane`.
inline Weights allOn(int lane, int lanes) {
  Weights weights;
  weights.lanes = lanes;
  weights.fastest = lane;
  weights.parts[static_cast<size_t>(lane)] = kWholeWeight;
  return weights;
}

// `amounts` (not negative, not all 0, at most kMostLanes) as parts of kWholeWeight: rounded down,
// and what is left goes to the largest remainders, of equal ones to the earlier lane.
Weights weightsOf(std::span<const double> amounts);

// A range inside each rank's block of one collective.
struct Slice {
  int32_t lane = 0;
  uint64_t offset = 0;  // bytes
  uint64_t length = 0;  // bytes; > 0

  bool operator==(const Slice&) const = default;
};

struct Split {
  std::array<Slice, kMostLanes> slices{};
  int32_t count = 0;

  const Slice* begin() const { return slices.data(); }
  const Slice* end() const { return slices.data() + count; }
};

// Where slices may begin: whole elements and whole cache lines.
constexpr uint64_t granularityOf(uint64_t elementBytes) {
  return std::lcm(elementBytes, uint64_t{64});
}

// Slices that cover [0, bytes) exactly, in the order of the lanes. Each begins at a multiple of
// `granularity` (> 0); what is left over is at the end of the last. A weight of 0 gives no slice,
// nor does one that is too small for a single unit.
Split split(uint64_t bytes, const Weights& weights, uint64_t granularity);

}  // namespace flexlink
