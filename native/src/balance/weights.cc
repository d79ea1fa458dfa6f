// SPDX-License-Identifier: Apache-2.0
// Rounding of shares and the arithmetic of slices.
#include "balance/weights.h"

#include <algorithm>
#include <cmath>

namespace flexlink {
namespace {

// units * part / kWholeWeight, rounded down, for any number of units.
uint64_t partOf(uint64_t units, uint64_t part) {
  return units / kWholeWeight * part + units % kWholeWeight * part / kWholeWeight;
}

}  // namespace

Weights weightsOf(std::span<const double> amounts) {
  Weights weights;
  weights.lanes = static_cast<int32_t>(amounts.size());
  double sum = 0;
  for (double amount : amounts) sum += amount;
  std::array<double, kMostLanes> remainders{};
  uint32_t left = kWholeWeight;
  for (size_t i = 0; i < amounts.size(); ++i) {
    double exact = amounts[i] / sum * kWholeWeight;
    double whole = std::min(std::floor(exact), double{kWholeWeight});
    weights.parts[i] = static_cast<uint16_t>(whole);
    remainders[i] = exact - whole;
    left -= weights.parts[i];
  }
  for (; left > 0; --left) {
    auto most = std::max_element(remainders.begin(), remainders.begin() + weights.lanes);
    ++weights.parts[static_cast<size_t>(most - remainders.begin())];
    *most = -1;
  }
  auto largest = std::max_element(amounts.begin(), amounts.end());
  weights.fastest = static_cast<int32_t>(largest - amounts.begin());
  return weights;
}

Split split(uint64_t bytes, const Weights& weights, uint64_t granularity) {
  Split result;
  if (bytes == 0) return result;
  if (bytes < weights.wholeBelow) {
    result.slices[0] = {weights.fastest, 0, bytes};
    result.count = 1;
    return result;
  }
  uint64_t units = bytes / granularity, upTo = 0, from = 0;
  for (int32_t lane = 0; lane < weights.lanes; ++lane) {
    uint16_t part = weights.parts[static_cast<size_t>(lane)];
    upTo += part;
    uint64_t to = partOf(units, upTo) * granularity;
    if (part == 0 || to == from) continue;
    result.slices[static_cast<size_t>(result.count++)] = {lane, from, to - from};
    from = to;
  }
  if (result.count == 0) {
    result.slices[static_cast<size_t>(result.count++)] = {weights.fastest, 0, 0};
  }
  result.slices[static_cast<size_t>(result.count - 1)].length += bytes - from;
  return result;
}

}  // namespace flexlink
