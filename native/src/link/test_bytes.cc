// SPDX-License-Identifier: Apache-2.0
#include "link/test_bytes.h"

#include <string.h>

#include <string_view>

#include "base/hash.h"

namespace flexlink {
namespace {

std::string_view textOf(const ProcessId& id) {
  return {reinterpret_cast<const char*>(id.data()), id.size()};
}

}  // namespace

std::vector<uint8_t> testBytes(const ProcessId& from, const ProcessId& to, LinkPlace place) {
  uint64_t state = fnv1a(textOf(to), fnv1a(textOf(from)));
  state ^= uint64_t{place.number} << 32 | place.round;
  std::vector<uint8_t> bytes(kTestBytes);
  for (size_t i = 0; i < kTestBytes; i += sizeof state) {
    uint64_t word = state += 0x9e3779b97f4a7c15;  // splitmix64
    word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9;
    word = (word ^ word >> 27) * 0x94d049bb133111eb;
    word ^= word >> 31;
    memcpy(bytes.data() + i, &word, sizeof word);
  }
  return bytes;
}

}  // namespace flexlink
