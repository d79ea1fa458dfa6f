// SPDX-License-Identifier: Apache-2.0
// What one call took that the vendor and a lane of ours carried side by side, from counters of its
// stream: when the stream came to it, when the vendor's part was through, and when ours.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

namespace flexlink {

class SideTimes {
 public:
  // Seconds from the beginning: of the vendor's part, and of ours (0: it had none).
  using Done = std::function<void(const std::array<double, 2>& seconds)>;

  // `ours`: our lane has a part.
  static std::shared_ptr<SideTimes> of(bool ours, Done done);

  enum class Event : uint8_t { kBegun, kVendors, kOurs };

  // The two arguments of a stream's notification that tells of this event.
  static void (*listener())(void*) { return happened; }
  static void* argument(std::shared_ptr<SideTimes> times, Event event);

 private:
  SideTimes(int events, Done done) : left_(events), done_(std::move(done)) {}
  static void happened(void* argument);

  std::array<std::atomic<int64_t>, 3> at_{};  // ns, by event; 0: not yet
  std::atomic<int> left_;  // acq_rel: who brings the last event reads what others have written
  const Done done_;
};

}  // namespace flexlink
