// SPDX-License-Identifier: Apache-2.0
// Which links of a bundle are worth using for what is to be sent, and how much each takes at once.
// Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace flexlink {

inline constexpr size_t kLargestChunk = 256 << 10;
inline constexpr size_t kSmallestChunk = 16 << 10;

// What is to be sent, and what all links together make of it.
struct LinkOutlook {
  size_t links = 0;  // that are worth it
  size_t ready = 0;  // bytes that no link has yet
  double rate = 0;   // of all links, bytes/s
  double fastest = 0;
  double nanos = 0;  // for the messages of which something is ready, over all links together
  int64_t end = 0;   // when everything would be through over all of them together
};

// How long the least that a link is given takes, ns.
inline int64_t stepNanos(double rate) { return static_cast<int64_t>(kSmallestChunk / rate * 1e9); }

// A link that is much slower than the others saves less than it risks: that its last chunk comes
// when all others have come. What it saves counts eight times, for that happens not often.
inline bool isWorth(double rate, const LinkOutlook& all) {
  constexpr double kGainForStep = 8;
  return rate >= all.fastest ||
         kGainForStep * all.nanos * rate / all.rate >= static_cast<double>(stepNanos(rate));
}

// Bytes of the next chunk of a message of which `rest` are left, if it goes over this link. Large
// chunks cost less; near the end of all that is ready small ones let all links finish together.
// Every link's take about as long, and what all links carry in 30 us is not cut up.
inline size_t chunkBytes(double rate, size_t rest, const LinkOutlook& all) {
  constexpr double kPartsAhead = 2;
  constexpr double kWorthSeconds = 30e-6;
  if (!isWorth(rate, all)) return std::min(rest, kSmallestChunk);
  if (all.links == 1) return std::min(rest, kLargestChunk);
  auto part = static_cast<size_t>(static_cast<double>(all.ready) * rate / all.rate / kPartsAhead);
  auto least =
      std::clamp(static_cast<size_t>(all.rate * kWorthSeconds), kSmallestChunk, kLargestChunk);
  return std::min(rest, std::clamp(part, least, kLargestChunk) / 4096 * 4096);
}

}  // namespace flexlink
