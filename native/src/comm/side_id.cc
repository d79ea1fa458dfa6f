// SPDX-License-Identifier: Apache-2.0
#include "comm/side_id.h"

#include <string.h>

#include <algorithm>
#include <string>

namespace flexlink {
namespace {

constexpr uint64_t kMagic = 0x30304453584c4601;  // "\1FLXSD00" in memory order
constexpr uint32_t kVersion = 1;
constexpr uint32_t kShortMagic = 0x31534c46;  // "FLS1"
constexpr size_t kVendorBytes = 40;
constexpr size_t kCopyBytes = 96;

struct Tail {
  uint64_t magic;
  uint32_t version;
  uint8_t cookie[16];
  uint8_t address[SocketAddress::kBytes];
} __attribute__((packed));
static_assert(kVendorBytes + sizeof(Tail) <= sizeof(ncclUniqueId));

struct ShortTail {
  uint32_t magic;
  uint8_t address[SocketAddress::kBytes];
} __attribute__((packed));
static_assert(kCopyBytes + sizeof(ShortTail) == sizeof(ncclUniqueId));

bool freeFrom(const ncclUniqueId& id, size_t begin) {
  return std::all_of(id.internal + begin, id.internal + sizeof id.internal,
                     [](char byte) { return byte == 0; });
}

Cookie cookieOfCopy(const ncclUniqueId& id) {
  return cookieFromSecret(std::string(id.internal, kCopyBytes), "side");
}

template <typename T>
std::optional<T> read(const ncclUniqueId& id, size_t at) {
  T tail;
  memcpy(&tail, id.internal + at, sizeof tail);
  Result<SocketAddress> address = SocketAddress::fromBytes(tail.address);
  if (!address.ok()) return {};
  return tail;
}

}  // namespace

std::optional<Cookie> addSide(const SocketAddress& door, const Cookie& fresh, ncclUniqueId* id) {
  if (freeFrom(*id, kVendorBytes)) {
    Tail tail{kMagic, kVersion, {}, {}};
    memcpy(tail.cookie, fresh.data(), sizeof tail.cookie);
    memcpy(tail.address, door.bytes().data(), sizeof tail.address);
    memcpy(id->internal + kVendorBytes, &tail, sizeof tail);
    return fresh;
  }
  if (!freeFrom(*id, kCopyBytes)) return {};
  ShortTail tail{kShortMagic, {}};
  memcpy(tail.address, door.bytes().data(), sizeof tail.address);
  memcpy(id->internal + kCopyBytes, &tail, sizeof tail);
  return cookieOfCopy(*id);
}

std::optional<UniqueId> findSide(const ncclUniqueId& id) {
  UniqueId side;
  const auto tail = read<Tail>(id, kVendorBytes);
  const auto shortTail = read<ShortTail>(id, kCopyBytes);
  if (tail && tail->magic == kMagic && tail->version == kVersion) {
    memcpy(side.cookie.data(), tail->cookie, side.cookie.size());
    side.address = SocketAddress::fromBytes(tail->address).value();
    return side;
  }
  if (!shortTail || shortTail->magic != kShortMagic) return {};
  side.cookie = cookieOfCopy(id);
  side.address = SocketAddress::fromBytes(shortTail->address).value();
  return side;
}

}  // namespace flexlink
