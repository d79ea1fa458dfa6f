// SPDX-License-Identifier: Apache-2.0
// The owner of one file descriptor. It closes and does nothing else; reading and writing are the
// business of whoever holds it.
#pragma once

#include <unistd.h>

#include <utility>

namespace flexlink {

// Move-only. A moved-from or default Fd holds -1. Used by one thread at a time.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  explicit operator bool() const { return valid(); }

  // The caller owns the descriptor from now on.
  int release() { return std::exchange(fd_, -1); }

  // Linux frees the number even when close reports EINTR, so close is never tried again.
  void reset(int fd = -1) {
    const int old = std::exchange(fd_, fd);
    if (old >= 0) ::close(old);
  }

 private:
  int fd_ = -1;
};

}  // namespace flexlink
