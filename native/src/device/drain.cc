// SPDX-License-Identifier: Apache-2.0
#include "device/drain.h"

#include <sched.h>

#include <chrono>

#include "base/clock.h"

namespace flexlink {
namespace {

constexpr std::chrono::milliseconds kLimit{1000};

}  // namespace

Status drain(Device& device, StreamHandle stream) {
  const Deadline limit = Deadline::after(kLimit);
  for (;;) {
    (void)device.drive();
    Status status = device.query(stream);
    if (status.code() != Code::kInProgress) return status;
    if (limit.passed()) {
      return makeStatus(Code::kTimeout, "copies on device %s are not through after %lld ms",
                        device.name(), static_cast<long long>(kLimit.count()));
    }
    sched_yield();
  }
}

}  // namespace flexlink
