// SPDX-License-Identifier: Apache-2.0
// Reading small files of /proc and /sys. Not with streams: their set-up would run at load, in every
// program that is preloaded.
#pragma once

#include <cstddef>
#include <string>

namespace flexlink {

// Reads up to size - 1 bytes and ends them with NUL; "" where the file cannot be read. Returns the
// number of bytes.
size_t readSmallFile(const char* path, char* buffer, size_t size);

// The first line, at most 255 bytes; "" where there is none to be read.
std::string firstLine(const std::string& path);

// All of it; "" where it cannot be read.
std::string wholeFile(const std::string& path);

}  // namespace flexlink
