// SPDX-License-Identifier: Apache-2.0
#include "device/host/doorbell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>

namespace flexlink {

void Doorbell::wakeAll() {
  word.fetch_add(1, std::memory_order_release);  // pairs with the acquire load in sleep()
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void Doorbell::futexWait(uint32_t seen, int64_t nanos) {
  timespec span{nanos / 1000000000, nanos % 1000000000};
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, seen, &span, nullptr, 0);
}

}  // namespace flexlink
