// SPDX-License-Identifier: Apache-2.0
#include "base/small_file.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

namespace flexlink {

size_t readSmallFile(const char* path, char* buffer, size_t size) {
  buffer[0] = '\0';
  const Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return 0;
  const ssize_t got = ::read(fd.get(), buffer, size - 1);
  const size_t length = got > 0 ? static_cast<size_t>(got) : 0;
  buffer[length] = '\0';
  return length;
}

std::string firstLine(const std::string& path) {
  char text[256];
  readSmallFile(path.c_str(), text, sizeof text);
  return {text, strcspn(text, "\n")};
}

std::string wholeFile(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  char part[16384];
  for (ssize_t got = 1; fd && got > 0;) {
    got = ::read(fd.get(), part, sizeof part);
    if (got > 0) text.append(part, static_cast<size_t>(got));
  }
  return text;
}

}  // namespace flexlink
