// SPDX-License-Identifier: Apache-2.0
// Which NICs carry data and which are joined: the table that Python shares, both sides' agreement,
// FLEXLINK_LINKS as text, and what the kernel says of this host.
#include "base/nic_pairs.h"

#include <gtest/gtest.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <algorithm>

#include "base_support.h"
#include "nic_cases.h"

namespace flexlink {
namespace {

using test::NicCase;
using test::NicExpectation;

NicWish wishOf(const NicCase& one) {
  const auto value = [&](const char* name) {
    const auto found = one.environment.find(name);
    return found == one.environment.end() ? std::string() : found->second;
  };
  NicWish wish;
  wish.socketIfname = value("NCCL_SOCKET_IFNAME");
  wish.links = parseLinks(value("FLEXLINK_LINKS")).value();
  wish.family = value("NCCL_SOCKET_FAMILY") == "AF_INET6" ? AF_INET6 : AF_UNSPEC;
  return wish;
}

SocketAddress bootstrapOf(const NicCase& one, const NicWish& wish) {
  InterfaceWish asked;
  asked.socketIfname = wish.socketIfname;
  asked.family = wish.family;
  return chooseBootstrapInterface(one.interfaces, asked).value().address;
}

NicSide sideOf(const NicCase& one) {
  const NicWish wish = wishOf(one);
  const SocketAddress bootstrap = bootstrapOf(one, wish);
  const auto places = placeNics(one.interfaces, one.facts, wish, bootstrap);
  return offeredNics(one.interfaces, places, wish, bootstrap).value();
}

std::string word(NicVerdict verdict) {
  return verdict == NicVerdict::kYes ? "yes" : verdict == NicVerdict::kPeer ? "peer" : "no";
}

TEST(NicPairs, TableOfPlacesHolds) {
  const auto cases = test::NicCaseReader().read();
  ASSERT_GE(cases.size(), 25u);
  for (const NicCase& one : cases) {
    const NicWish wish = wishOf(one);
    const auto places = placeNics(one.interfaces, one.facts, wish, bootstrapOf(one, wish));
    ASSERT_EQ(places.size(), one.places.size()) << one.name;
    for (size_t i = 0; i < places.size(); ++i) {
      const NicExpectation& expected = one.places[i];
      EXPECT_EQ(places[i].name + " " + word(places[i].verdict) + " " + places[i].why,
                expected.nic + " " + expected.word + " " + expected.why)
          << one.name;
    }
  }
}

TEST(NicPairs, TableOfOfferedNicsHolds) {
  for (const NicCase& one : test::NicCaseReader().read()) {
    if (one.offered.empty()) continue;
    std::vector<std::string> nics;
    for (const NicAddress& address : sideOf(one).addresses) nics.push_back(address.nic);
    EXPECT_EQ(nics, one.offered) << one.name;
  }
}

std::string textOf(const NicPair& pair) { return (pair.used ? "used " : "not ") + pair.why; }

TEST(NicPairs, TableOfPairsHolds) {
  for (const NicCase& one : test::NicCaseReader().read()) {
    const NicSide own = sideOf(one);
    const auto pairs = pairNics(own, one.peer, one.oneLo);
    for (const NicExpectation& expected : one.pairs) {
      const auto found = std::find_if(pairs.begin(), pairs.end(), [&](const NicPair& pair) {
        return own.addresses[pair.own].nic == expected.nic &&
               one.peer.addresses[pair.peer].nic == expected.peer;
      });
      ASSERT_NE(found, pairs.end()) << one.name << ": " << expected.nic << " " << expected.peer;
      EXPECT_EQ(textOf(*found), expected.word + " " + expected.why)
          << one.name << ": " << expected.nic << " " << expected.peer;
    }
  }
}

TEST(NicPairs, BothSidesJoinTheSameAddresses) {
  for (const NicCase& one : test::NicCaseReader().read()) {
    const NicSide own = sideOf(one);
    std::vector<std::pair<size_t, size_t>> here, there;
    for (const NicPair& pair : pairNics(own, one.peer, one.oneLo)) {
      if (pair.used) here.emplace_back(pair.own, pair.peer);
    }
    for (const NicPair& pair : pairNics(one.peer, own, one.oneLo)) {
      if (pair.used) there.emplace_back(pair.peer, pair.own);
    }
    std::sort(there.begin(), there.end());
    EXPECT_EQ(here, there) << one.name;
  }
}

NicSide sideWith(const std::vector<std::string>& hosts) {
  NicSide side;
  for (const std::string& host : hosts) {
    const auto [address, prefix] = test::withPrefix(host + "/24");
    side.addresses.push_back({"eth" + std::to_string(side.addresses.size()), address, prefix});
  }
  if (!hosts.empty()) side.bootstrap = side.addresses[0];
  return side;
}

// Of any number of NICs on few subnets: each NIC that reaches one of the peer's is used, and none
// is used twice while another one that reaches the same is idle.
TEST(NicPairs, EveryNicThatReachesOneIsUsed) {
  for (int own = 1; own <= 5; ++own) {
    for (int peer = 1; peer <= 5; ++peer) {
      for (int nets = 1; nets <= 3; ++nets) {
        std::vector<std::string> ours, theirs;
        for (int i = 0; i < own; ++i) {
          ours.push_back("10.0." + std::to_string(i % nets) + "." + std::to_string(i + 1));
        }
        for (int i = 0; i < peer; ++i) {
          theirs.push_back("10.0." + std::to_string(i % nets) + "." + std::to_string(i + 100));
        }
        const NicSide a = sideWith(ours), b = sideWith(theirs);
        std::vector<int> usesA(ours.size()), usesB(theirs.size());
        for (const NicPair& pair : pairNics(a, b, false)) {
          if (!pair.used) continue;
          EXPECT_EQ(pair.own % nets, pair.peer % nets);
          ++usesA[pair.own];
          ++usesB[pair.peer];
        }
        for (size_t i = 0; i < usesA.size(); ++i) {
          EXPECT_EQ(usesA[i] > 0, static_cast<int>(i) % nets < peer) << own << peer << nets;
        }
        for (size_t i = 0; i < usesB.size(); ++i) {
          EXPECT_EQ(usesB[i] > 0, static_cast<int>(i) % nets < own) << own << peer << nets;
        }
      }
    }
  }
}

TEST(NicPairs, NicsThatNoPairUsesAreNamedOnceWithTheReason) {
  NicSide own = sideWith({"10.0.0.1", "10.0.1.1", "10.0.2.1"});
  own.addresses.push_back({"lo", test::withPrefix("127.0.0.1/8").first, 8});
  const NicSide peer = sideWith({"10.0.0.2", "10.0.2.2"});
  const auto unused = unusedNics(own, pairNics(own, peer, false));
  ASSERT_EQ(unused.size(), 1u);
  EXPECT_EQ(unused[0].name, "eth1");
  EXPECT_EQ(unused[0].why, "10.0.1.0/24 here, 10.0.0.0/24 there: not the same subnet");
  const auto all = unusedNics(own, pairNics(own, {}, false));
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[2].why, "the peer offers no NIC");
}

TEST(NicPairs, OneConnectionButWhereACloudLimitsEachFlow) {
  std::vector<NicFacts> facts(4);
  facts[0].name = "eth0";
  facts[0].vendor = "0x15b3";
  facts[1].name = "ens5";
  facts[1].vendor = "0x1d0f";
  facts[2].name = "ens6";
  facts[2].vendor = "0x1ae0";
  facts[3].name = "veth0";
  EXPECT_EQ(connectionsOf("eth0", facts, -1), 1u);
  EXPECT_EQ(connectionsOf("ens5", facts, -1), 8u);
  EXPECT_EQ(connectionsOf("ens6", facts, -1), 4u);
  EXPECT_EQ(connectionsOf("veth0", facts, -1), 1u);
  EXPECT_EQ(connectionsOf("ens5", {}, -1), 1u);
  EXPECT_EQ(connectionsOf("ens5", facts, 2), 2u);
  EXPECT_EQ(connectionsOf("eth0", facts, 16), 16u);
  EXPECT_EQ(connectionsOf("eth0", facts, 0), 1u);
}

TEST(NicPairs, NothingIsJoinedWithNothing) {
  EXPECT_TRUE(pairNics({}, {}, true).empty());
  EXPECT_TRUE(pairNics(sideWith({"10.0.0.1"}), {}, true).empty());
}

TEST(NicPairs, WithoutTheKernelsFactsNamesTellWhatIsVirtual) {
  std::vector<Interface> all(2);
  all[0].name = "eth0";
  all[1].name = "docker0";
  all[0].address = test::withPrefix("192.0.2.1/24").first;
  all[1].address = test::withPrefix("192.0.2.3/24").first;
  all[0].up = all[1].up = true;
  all[0].prefixLength = all[1].prefixLength = 24;
  const auto places = placeNics(all, {}, {}, all[0].address);
  ASSERT_EQ(places.size(), 2u);
  EXPECT_EQ(places[0].why, "ranks meet over it");
  EXPECT_EQ(places[1].verdict, NicVerdict::kNo);
  EXPECT_EQ(places[1].why, "its name is that of a virtual interface");
}

TEST(NicPairs, LinksThatNameNothingHereAreAnErrorThatListsWhatThereIs) {
  NicWish wish;
  wish.links = {{LinkKind::kTcp, "eth9"}};
  std::vector<Interface> all(1);
  all[0].name = "eth0";
  all[0].address = test::withPrefix("192.0.2.1/24").first;
  all[0].prefixLength = 24;
  all[0].up = true;
  const auto places = placeNics(all, {}, wish, all[0].address);
  const auto side = offeredNics(all, places, wish, all[0].address);
  ASSERT_FALSE(side.ok());
  EXPECT_EQ(side.status().code(), Code::kInvalidUsage);
  EXPECT_STREQ(side.status().text(),
               "FLEXLINK_LINKS names no interface that can be used here; there are: eth0 "
               "192.0.2.1");
}

TEST(NicPairs, NoMoreThanTheMostNicsAreOfferedWithTwoAddressesEach) {
  std::vector<Interface> all;
  for (int nic = 0; nic < 10; ++nic) {
    for (int i = 0; i < 3; ++i) {
      Interface one;
      one.name = "eth" + std::to_string(nic);
      one.address =
          test::withPrefix("10." + std::to_string(i) + ".0." + std::to_string(nic + 1) + "/24")
              .first;
      one.prefixLength = 24;
      one.up = true;
      all.push_back(one);
    }
  }
  const auto places = placeNics(all, {}, {}, all[0].address);
  const NicSide side = offeredNics(all, places, {}, all[0].address).value();
  ASSERT_EQ(side.addresses.size(), kMostNicAddresses);
  EXPECT_EQ(side.addresses.back().nic, "eth7");
  EXPECT_EQ(side.addresses.back().address.host(), "10.1.0.8");
}

std::string linksOf(const std::string& text) {
  const auto links = parseLinks(text);
  if (!links.ok()) return links.status().text();
  std::string names;
  for (const LinkName& link : links.value()) names += "|" + link.nic;
  return names;
}

TEST(LinkWish, NicsAreNamedInOrder) {
  EXPECT_EQ(linksOf(""), "");
  EXPECT_EQ(linksOf("  "), "");
  EXPECT_EQ(linksOf("tcp:eth1, tcp:eth0"), "|eth1|eth0");
  EXPECT_EQ(linksOf("tcp:eth0:1"), "|eth0:1");
  EXPECT_EQ(parseLinks("tcp:eth1,pcie").value(),
            (std::vector<LinkName>{{LinkKind::kTcp, "eth1"}, {LinkKind::kPcie, ""}}));
}

TEST(LinkWish, WhatCannotBeReadIsNamedWithWhatIsExpected) {
  const std::string end = "; expected KIND:NIC with commas, e.g. tcp:eth0,tcp:eth1, or pcie";
  EXPECT_EQ(linksOf("eth0"), "FLEXLINK_LINKS: 'eth0' has no kind" + end);
  EXPECT_EQ(linksOf("udp:eth0"),
            "FLEXLINK_LINKS: 'udp:eth0' is of no kind that there is (tcp, pcie)" + end);
  EXPECT_EQ(linksOf("pcie:eth0"),
            "FLEXLINK_LINKS: 'pcie:eth0' names an interface, and pcie has none" + end);
  EXPECT_EQ(linksOf("pcie, pcie"), "FLEXLINK_LINKS: 'pcie' is there twice" + end);
  EXPECT_EQ(linksOf("tcp:"), "FLEXLINK_LINKS: 'tcp:' names no interface" + end);
  EXPECT_EQ(linksOf("tcp:eth0,"), "FLEXLINK_LINKS: '' is empty" + end);
  EXPECT_EQ(linksOf("tcp:eth0,,tcp:eth1"), "FLEXLINK_LINKS: '' is empty" + end);
  EXPECT_EQ(linksOf("tcp:eth0, tcp:eth0"), "FLEXLINK_LINKS: 'tcp:eth0' is there twice" + end);
  EXPECT_EQ(linksOf("tcp:a b"),
            "FLEXLINK_LINKS: 'tcp:a b' has a character that no interface's name has" + end);
  EXPECT_EQ(linksOf("tcp:abcdefghijklmnop"),
            "FLEXLINK_LINKS: 'tcp:abcdefghijklmnop' is longer than an interface's name" + end);
}

TEST(LinkWish, SettingHoldsTheTextAsItIs) {
  test::CleanEnvironment environment;
  EXPECT_EQ(settings().links, "");
  environment.set("FLEXLINK_LINKS", "tcp:eth0,tcp:eth1");
  settingsReload();
  EXPECT_EQ(settings().links, "tcp:eth0,tcp:eth1");
}

TEST(SocketSubnet, IsTheAddressWithoutItsHostBits) {
  const auto subnet = [](const std::string& text) {
    const auto [address, prefix] = test::withPrefix(text);
    return address.subnet(prefix);
  };
  EXPECT_EQ(subnet("192.0.2.200/25"), "192.0.2.128/25");
  EXPECT_EQ(subnet("192.0.2.200/0"), "0.0.0.0/0");
  EXPECT_EQ(subnet("192.0.2.200/32"), "192.0.2.200/32");
  EXPECT_EQ(subnet("2001:db8:1:ffff::1/52"), "2001:db8:1:f000::/52");
  EXPECT_EQ(SocketAddress().subnet(8), "(no address)");
}

void attribute(std::vector<uint8_t>* to, uint16_t type, const std::string& value) {
  const rtattr head{static_cast<uint16_t>(sizeof(rtattr) + value.size()), type};
  const auto* raw = reinterpret_cast<const uint8_t*>(&head);
  to->insert(to->end(), raw, raw + sizeof head);
  to->insert(to->end(), value.begin(), value.end());
  to->resize((to->size() + 3) / 4 * 4);
}

std::string number(uint32_t value) { return {reinterpret_cast<const char*>(&value), 4}; }

TEST(NicFactsReader, LinkIsReadFromTheKernelsBytes) {
  ifinfomsg head{};
  head.ifi_type = 1;
  head.ifi_index = 7;
  head.ifi_flags = 0x1043;
  const auto* raw = reinterpret_cast<const uint8_t*>(&head);
  std::vector<uint8_t> bytes(raw, raw + sizeof head);
  attribute(&bytes, IFLA_IFNAME, std::string("eth0.7\0", 7));
  attribute(&bytes, IFLA_MASTER, number(3));
  attribute(&bytes, IFLA_LINK, number(2));
  attribute(&bytes, IFLA_LINK_NETNSID, number(0));
  std::vector<uint8_t> info;
  attribute(&info, IFLA_INFO_KIND, "vlan");
  attribute(&bytes, IFLA_LINKINFO, std::string(info.begin(), info.end()));
  const NicFacts nic = parseNicFacts(bytes);
  EXPECT_EQ(nic.name, "eth0.7");
  EXPECT_EQ(nic.kind, "vlan");
  EXPECT_EQ(nic.index, 7u);
  EXPECT_EQ(nic.arpType, 1);
  EXPECT_EQ(nic.flags, 0x1043u);
  EXPECT_EQ(nic.master, 3u);
  EXPECT_EQ(nic.lower, 2u);
  EXPECT_TRUE(nic.lowerElsewhere);
  for (size_t length = 0; length < bytes.size(); ++length) {
    (void)parseNicFacts({bytes.data(), length});  // cut anywhere: no byte beyond is read
  }
}

TEST(NicFactsReader, AttributeShorterThanItsOwnHeaderEndsTheList) {
  std::vector<uint8_t> bytes(sizeof(ifinfomsg) + sizeof(rtattr));
  bytes[sizeof(ifinfomsg)] = 1;
  EXPECT_EQ(parseNicFacts(bytes).name, "");
}

TEST(NicFactsReader, KernelListsLoOfThisMachine) {
  const auto facts = readNicFacts();
  if (!facts.ok()) GTEST_SKIP() << facts.status().text();
  const auto lo = std::find_if(facts.value().begin(), facts.value().end(),
                               [](const NicFacts& nic) { return nic.name == "lo"; });
  ASSERT_NE(lo, facts.value().end());
  EXPECT_EQ(lo->arpType, 772);
  EXPECT_EQ(lo->kind, "");
  EXPECT_EQ(lo->index, 1u);
}

}  // namespace
}  // namespace flexlink
