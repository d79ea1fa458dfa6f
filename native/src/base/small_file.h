// SPDX-License-Identifier: Apache-2.0
// Reading one word of a file of /proc or /sys. Not with streams: their set-up would run at load, in
// every program that is preloaded.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "base/fd.h"

namespace flexlink {

// The first line, at most 255 bytes; "" where there is none to be read.
inline std::string firstLine(const std::string& path) {
  const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[256];
  const ssize_t got = file ? read(file.get(), text, sizeof text - 1) : -1;
  if (got <= 0) return "";
  const std::string all(text, static_cast<size_t>(got));
  return all.substr(0, all.find('\n'));
}

}  // namespace flexlink
