// SPDX-License-Identifier: Apache-2.0
#include "device/host/copy_rate.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "device/host/kernels.h"

namespace flexlink {
namespace {

// Half in the caches of a usual machine, half out of them: between what a call of one MiB and one
// of hundreds find.
constexpr size_t kBytes = 8 << 20;
constexpr int kRounds = 4;  // the first one brings the pages; the others may be interrupted

double measure() {
  std::vector<uint8_t> from(kBytes, 1);
  std::vector<uint8_t> to(kBytes);
  int64_t best = INT64_MAX;
  for (int round = 0; round < kRounds; ++round) {
    void* dst = to.data();
    int64_t began = nowNanos();
    copyTo(&dst, 1, from.data(), kBytes, 0);
    best = std::min(best, nowNanos() - began);
  }
  return static_cast<double>(kBytes) * 1e9 / static_cast<double>(std::max<int64_t>(best, 1));
}

}  // namespace

double hostCopyRate() {
  static const double rate = measure();
  return rate;
}

}  // namespace flexlink
