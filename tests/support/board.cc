// SPDX-License-Identifier: Apache-2.0
// The shared memory between a test and its ranks: creation, mapping and the futex waits.
#include "support/board.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

namespace ranktest {
namespace {

// Short sleeps: a waiter also looks at `stop`, which nobody wakes it for.
constexpr double kLookAgainSeconds = 0.02;

long futex(std::atomic<uint32_t>& word, int op, uint32_t value, const timespec* timeout) {
  return syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), op, value, timeout, nullptr, 0);
}

}  // namespace

int createBoard() {
  const int fd = memfd_create("ranktest-board", 0);
  if (fd < 0) return -1;
  if (ftruncate(fd, sizeof(Board)) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

Board* mapBoard(int fd) {
  void* at = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return at == MAP_FAILED ? nullptr : static_cast<Board*>(at);
}

void unmapBoard(Board* board) { munmap(board, sizeof(Board)); }

void setFlag(std::atomic<uint32_t>& word, uint32_t value) {
  word.store(value, std::memory_order_release);
  futex(word, FUTEX_WAKE, INT_MAX, nullptr);
}

uint32_t waitChange(std::atomic<uint32_t>& word, uint32_t from, double seconds,
                    const std::atomic<uint32_t>* stop) {
  const double end = nowSeconds() + seconds;
  for (;;) {
    const uint32_t value = word.load(std::memory_order_acquire);
    if (value != from) return value;
    if (stop != nullptr && stop->load(std::memory_order_acquire) != 0) return value;
    const double left = end - nowSeconds();
    if (left <= 0) return value;
    const double nap = std::min(left, kLookAgainSeconds);
    const timespec timeout{0, static_cast<long>(nap * 1e9)};
    futex(word, FUTEX_WAIT, from, &timeout);
  }
}

double nowSeconds() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

}  // namespace ranktest
