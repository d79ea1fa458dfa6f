// SPDX-License-Identifier: Apache-2.0
// Lines of text over a stream socket, with a deadline: all that controller and workers say.
#pragma once

#include <string>

namespace flexlink::perf {

class LineSocket {
 public:
  LineSocket() = default;
  explicit LineSocket(int fd) : fd_(fd) {}
  ~LineSocket();
  LineSocket(LineSocket&& other) noexcept;
  LineSocket& operator=(LineSocket&& other) noexcept;

  bool send(const std::string& line);

  // The next line without its end; false at the end of the stream, on an error, or when
  // `milliseconds` (negative: no limit) have passed.
  bool receive(std::string* line, int milliseconds);

  int fd() const { return fd_; }

 private:
  int fd_ = -1;
  std::string pending_;  // received, not yet asked for
};

// A listening Unix socket at `path`; -1 on failure (errno).
int listenAt(const std::string& path);
int connectTo(const std::string& path);

}  // namespace flexlink::perf
