// SPDX-License-Identifier: Apache-2.0
#include "comm/unique_id.h"

#include <string.h>

#include <array>

namespace flexlink {
namespace {

constexpr uint64_t kMagic = 0x30305549584c4601;  // "\1FLXIU00" in memory order
constexpr uint32_t kVersion = 1;

// The vendor's handle first, so that a tool that looks into an id finds the address where it
// expects it.
struct Packed {
  uint64_t vendorMagic;
  uint8_t vendorAddress[SocketAddress::kBytes];
  int32_t vendorRanks;
  uint64_t magic;
  uint32_t version;
  uint8_t cookie[16];
  uint8_t address[SocketAddress::kBytes];
  uint8_t rest[128 - 40 - 8 - 4 - 16 - SocketAddress::kBytes];
} __attribute__((packed));
static_assert(sizeof(Packed) == sizeof(ncclUniqueId));

uint64_t mix(uint64_t x) {  // splitmix64's finalizer
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

std::array<uint64_t, 2> words(const Cookie& cookie) {
  std::array<uint64_t, 2> both;
  memcpy(both.data(), cookie.data(), sizeof both);
  return both;
}

Cookie cookieOf(uint64_t a, uint64_t b) {
  Cookie cookie;
  memcpy(cookie.data(), &a, 8);
  memcpy(cookie.data() + 8, &b, 8);
  return cookie;
}

}  // namespace

ncclUniqueId packUniqueId(const UniqueId& id) {
  Packed packed{};
  packed.vendorMagic = publicHash(id.cookie);
  memcpy(packed.vendorAddress, id.address.bytes().data(), SocketAddress::kBytes);
  packed.magic = kMagic;
  packed.version = kVersion;
  memcpy(packed.cookie, id.cookie.data(), id.cookie.size());
  memcpy(packed.address, id.address.bytes().data(), SocketAddress::kBytes);
  ncclUniqueId out;
  memcpy(&out, &packed, sizeof out);
  return out;
}

Result<UniqueId> unpackUniqueId(const ncclUniqueId& in) {
  Packed packed;
  memcpy(&packed, &in, sizeof packed);
  if (packed.magic != kMagic || packed.version != kVersion) {
    return makeStatus(
        Code::kInvalidArgument,
        "this unique id was not made by this version of FlexLink's ncclGetUniqueId; all "
        "ranks must load the same library, and the id must arrive whole (128 bytes)");
  }
  UniqueId id;
  FLEXLINK_TRY_ASSIGN(id.address, SocketAddress::fromBytes(packed.address));
  memcpy(id.cookie.data(), packed.cookie, id.cookie.size());
  return id;
}

Cookie deriveCookie(const Cookie& from, uint64_t a, uint64_t b) {
  auto [x, y] = words(from);
  uint64_t first = mix(x ^ mix(a + 0x9e3779b97f4a7c15) ^ mix(b + 1));
  return cookieOf(first, mix(y ^ first ^ mix(b + 0xd1b54a32d192ed03)));
}

Cookie cookieFromSecret(const std::string& secret, const std::string& address) {
  uint64_t x = 0xcbf29ce484222325, y = 0x84222325cbf29ce4;
  for (unsigned char c : secret + "@" + address) {
    x = mix(x ^ c);
    y = mix(y + c);
  }
  return cookieOf(x, y);
}

uint64_t publicHash(const Cookie& cookie) {
  auto [x, y] = words(cookie);
  return mix(mix(x) + mix(y ^ 0x2545f4914f6cdd1d));
}

}  // namespace flexlink
