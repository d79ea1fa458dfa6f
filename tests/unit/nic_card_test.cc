// SPDX-License-Identifier: Apache-2.0
// What travels of a process's NICs: there and back, any bytes, and what this host offers.
#include "base/nic_card.h"

#include <gtest/gtest.h>
#include <string.h>

#include <random>

#include "base_support.h"
#include "nic_cases.h"

namespace flexlink {
namespace {

NicAddress nic(const std::string& name, const std::string& text, int port) {
  auto [address, prefix] = test::withPrefix(text);
  address.setPort(port);
  return {name, address, prefix};
}

NicSide example() {
  NicSide side;
  side.addresses = {nic("eth0", "192.0.2.1/24", 4000), nic("enp65s0f0np0", "2001:db8::1/64", 4001)};
  side.bootstrap = nic("eth0", "192.0.2.1/24", 0);
  side.named = true;
  return side;
}

bool same(const NicAddress& a, const NicAddress& b) {
  return a.nic == b.nic && a.address == b.address && a.prefixLength == b.prefixLength;
}

TEST(NicCard, SideComesBackAsItWas) {
  const NicSide side = example();
  const NicCard card = packNics(side, 77);
  EXPECT_EQ(card.loopback, 77u);
  const auto back = unpackNics(card);
  ASSERT_TRUE(back.ok()) << back.status().text();
  ASSERT_EQ(back.value().addresses.size(), 2u);
  EXPECT_TRUE(same(back.value().addresses[0], side.addresses[0]));
  EXPECT_TRUE(same(back.value().addresses[1], side.addresses[1]));
  EXPECT_TRUE(same(back.value().bootstrap, side.bootstrap));
  EXPECT_TRUE(back.value().named);
}

TEST(NicCard, SideWithoutAnythingComesBackEmpty) {
  const auto back = unpackNics(packNics({}, 0));
  ASSERT_TRUE(back.ok()) << back.status().text();
  EXPECT_TRUE(back.value().addresses.empty());
  EXPECT_FALSE(back.value().bootstrap.address.valid());
}

TEST(NicCard, MoreAddressesThanThereIsRoomForAreCut) {
  NicSide side;
  for (int i = 0; i < 20; ++i) side.addresses.push_back(nic("eth0", "192.0.2.1/24", i));
  EXPECT_EQ(unpackNics(packNics(side, 0)).value().addresses.size(), kMostNicAddresses);
}

TEST(NicCard, WhatIsOutOfBoundsIsRefused) {
  NicCard card = packNics(example(), 0);
  card.count = kMostNicAddresses + 1;
  EXPECT_STREQ(unpackNics(card).status().text(), "a peer offers 17 addresses; 16 are the most");
  card = packNics(example(), 0);
  card.entries[0].prefixLength = 33;
  EXPECT_STREQ(unpackNics(card).status().text(),
               "a peer offers 192.0.2.1:4000/33 of NIC 'eth0', which is no address");
  card = packNics(example(), 0);
  card.entries[1].nic[0] = '\0';
  EXPECT_FALSE(unpackNics(card).ok());
  card = packNics(example(), 0);
  card.bootstrap.address[0] = 99;  // its family
  EXPECT_FALSE(unpackNics(card).ok());
}

TEST(NicCard, NameOfAPeersNicCannotSteerTheTerminal) {
  NicCard card = packNics(example(), 0);
  memcpy(card.entries[0].nic, "a\x1b[2J\n bcdefghijk", sizeof card.entries[0].nic);
  EXPECT_EQ(unpackNics(card).value().addresses[0].nic, "a?[2J??bcdefghij");
}

TEST(NicCard, AnyBytesAreReadOrRefused) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 20000; ++i) {
    NicCard card = packNics(example(), 0);
    auto* bytes = reinterpret_cast<uint8_t*>(&card);
    for (int change = 0; change < 6; ++change) {
      bytes[random() % sizeof card] = static_cast<uint8_t>(random());
    }
    const auto side = unpackNics(card);
    if (!side.ok()) continue;
    (void)pairNics(side.value(), example(), true);
  }
}

TEST(NicCard, LoopbackIsTheSameInOneNetworkNamespace) {
  EXPECT_EQ(loopbackId(), loopbackId());
  EXPECT_NE(loopbackId(), 0u);
}

TEST(OwnNics, LoOfThisMachineIsOfferedWhereItIsNamed) {
  test::CleanEnvironment environment;
  environment.set("NCCL_SOCKET_IFNAME", "=lo");
  environment.set("NCCL_SOCKET_FAMILY", "AF_INET");
  settingsReload();
  const auto own = ownNics();
  ASSERT_TRUE(own.ok()) << own.status().text();
  ASSERT_EQ(own.value().side.addresses.size(), 1u);
  EXPECT_EQ(own.value().side.addresses[0].address.host(), "127.0.0.1");
  EXPECT_TRUE(own.value().side.named);
}

TEST(OwnNics, LinksThatCannotBeReadAreAnError) {
  test::CleanEnvironment environment;
  environment.set("FLEXLINK_LINKS", "eth0");
  settingsReload();
  const auto own = ownNics();
  ASSERT_FALSE(own.ok());
  EXPECT_EQ(own.status().code(), Code::kInvalidUsage);
  EXPECT_TRUE(std::string(own.status().text()).starts_with("FLEXLINK_LINKS: 'eth0' has no kind;"));
}

}  // namespace
}  // namespace flexlink
