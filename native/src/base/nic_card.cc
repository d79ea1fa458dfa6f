// SPDX-License-Identifier: Apache-2.0
#include "base/nic_card.h"

#include <string.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>

#include "base/hash.h"
#include "base/log.h"
#include "base/settings.h"
#include "base/small_file.h"

namespace flexlink {
namespace {

NicCard::Entry packOne(const NicAddress& one) {
  NicCard::Entry entry{};
  one.nic.copy(entry.nic, sizeof entry.nic - 1);
  memcpy(entry.address, one.address.bytes().data(), sizeof entry.address);
  entry.prefixLength = static_cast<uint8_t>(one.prefixLength);
  return entry;
}

Result<NicAddress> unpackOne(const NicCard::Entry& entry) {
  NicAddress one;
  one.nic.assign(entry.nic, strnlen(entry.nic, sizeof entry.nic));
  for (char& c : one.nic) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) c = '?';  // it will be printed
  }
  FLEXLINK_TRY_ASSIGN(one.address, SocketAddress::fromBytes(entry.address));
  one.prefixLength = entry.prefixLength;
  const int most = one.address.family() == AF_INET ? 32 : 128;
  const bool usable = !one.address.isAny() && !one.nic.empty() && one.prefixLength <= most;
  if (usable) return one;
  return makeStatus(Code::kInvalidArgument, "a peer offers %s/%d of NIC '%s', which is no address",
                    one.address.text().c_str(), one.prefixLength, one.nic.c_str());
}

}  // namespace

NicCard packNics(const NicSide& side, uint64_t loopback) {
  NicCard card{};
  card.named = side.named ? 1 : 0;
  card.loopback = loopback;
  if (side.bootstrap.address.valid()) card.bootstrap = packOne(side.bootstrap);
  for (const NicAddress& one : side.addresses) {
    if (card.count < kMostNicAddresses) card.entries[card.count++] = packOne(one);
  }
  return card;
}

Result<NicSide> unpackNics(const NicCard& card) {
  if (card.count > kMostNicAddresses) {
    return makeStatus(Code::kInvalidArgument, "a peer offers %u addresses; %zu are the most",
                      card.count, kMostNicAddresses);
  }
  NicSide side;
  side.named = card.named != 0;
  for (uint32_t i = 0; i < card.count; ++i) {
    FLEXLINK_TRY_ASSIGN(NicAddress one, unpackOne(card.entries[i]));
    side.addresses.push_back(std::move(one));
  }
  const NicCard::Entry none{};
  if (memcmp(&card.bootstrap, &none, sizeof none) == 0) return side;
  FLEXLINK_TRY_ASSIGN(side.bootstrap, unpackOne(card.bootstrap));
  return side;
}

uint64_t loopbackId() {
  struct stat space {};
  const std::string boot = firstLine("/proc/sys/kernel/random/boot_id");
  if (boot.empty() || stat("/proc/self/ns/net", &space) != 0) return 0;
  const uint64_t hash = fnv1a(boot + " " + std::to_string(space.st_ino));
  return hash == 0 ? 1 : hash;
}

Result<OwnNics> ownNics() {
  NicWish wish;
  wish.socketIfname = settings().socketIfname;
  wish.family = socketFamily();
  FLEXLINK_TRY_ASSIGN(wish.links, parseLinks(settings().links));
  OwnNics own;
  own.pcie = std::erase_if(wish.links,
                           [](const LinkName& link) { return link.kind == LinkKind::kPcie; }) != 0;
  own.onlyPcie = own.pcie && wish.links.empty();
  FLEXLINK_TRY_ASSIGN(const std::vector<Interface> interfaces, listInterfaces());
  FLEXLINK_TRY_ASSIGN(const Interface bootstrap, bootstrapInterface());
  const Result<std::vector<NicFacts>> known = readNicFacts();
  if (!known.ok()) {
    FLEXLINK_INFO(kNet, "what is virtual is told by names alone: %s", known.status().text());
  }
  const std::vector<NicFacts> facts = known.ok() ? known.value() : std::vector<NicFacts>();
  own.places = placeNics(interfaces, facts, wish, bootstrap.address);
  FLEXLINK_TRY_ASSIGN(own.side, offeredNics(interfaces, own.places, wish, bootstrap.address));
  for (const NicAddress& one : own.side.addresses) {
    own.connections[one.nic] = connectionsOf(one.nic, facts, settings().sockets);
  }
  return own;
}

}  // namespace flexlink
