// SPDX-License-Identifier: Apache-2.0
#include "comm/side_times.h"

#include <utility>

#include "base/clock.h"

namespace flexlink {
namespace {

struct Notice {
  std::shared_ptr<SideTimes> times;
  SideTimes::Event event;
};

}  // namespace

std::shared_ptr<SideTimes> SideTimes::of(bool ours, Done done) {
  return std::shared_ptr<SideTimes>(new SideTimes(ours ? 3 : 2, std::move(done)));
}

void* SideTimes::argument(std::shared_ptr<SideTimes> times, Event event) {
  return new Notice{std::move(times), event};
}

void SideTimes::happened(void* argument) {
  const std::unique_ptr<Notice> notice(static_cast<Notice*>(argument));
  SideTimes& times = *notice->times;
  times.at_[static_cast<size_t>(notice->event)].store(nowNanos(), std::memory_order_relaxed);
  if (times.left_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const int64_t begun = times.at_[0].load(std::memory_order_relaxed);
  std::array<double, 2> seconds{};
  for (size_t part = 0; part < 2; ++part) {
    const int64_t ended = times.at_[part + 1].load(std::memory_order_relaxed);
    if (ended > begun) seconds[part] = static_cast<double>(ended - begun) / 1e9;
  }
  times.done_(seconds);
}

}  // namespace flexlink
