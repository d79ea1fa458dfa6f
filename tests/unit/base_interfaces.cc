// SPDX-License-Identifier: Apache-2.0
// Choosing interfaces: NCCL's patterns, the default order, and errors that list what there is.
#include <gtest/gtest.h>

#include "base/interfaces.h"
#include "base_support.h"

namespace flexlink {
namespace {

SocketAddress address(const std::string& text) { return parse(text).value(); }

Interface make(const std::string& name, const std::string& host, int prefixLength = 24) {
  Interface interface;
  interface.name = name;
  interface.address = address(host + ":0");
  interface.prefixLength = prefixLength;
  interface.up = true;
  interface.loopback = name == "lo";
  return interface;
}

std::vector<Interface> machine() {
  std::vector<Interface> all = {make("lo", "127.0.0.1", 8), make("docker0", "172.17.0.1", 16),
                                make("eth0", "192.0.2.2"), make("eth1", "198.51.100.2"),
                                make("eth10", "203.0.113.2")};
  all.push_back(make("eth0", "[fe80::2]", 64));
  all.push_back(make("eth1", "[2001:db8::2]", 64));
  all.push_back(make("wlan0", "192.0.2.9"));
  all.back().up = false;
  return all;
}

std::string names(const std::vector<Interface>& interfaces) {
  std::string text;
  for (const Interface& each : interfaces) text += (text.empty() ? "" : " ") + each.name;
  return text;
}

std::string selected(const std::string& pattern, int family = AF_INET) {
  return names(selectInterfaces(machine(), pattern, family));
}

std::string chosen(const InterfaceWish& wish, const std::vector<Interface>& from = machine()) {
  const Result<Interface> result = chooseBootstrapInterface(from, wish);
  if (!result.ok()) return result.status().text();
  return result.value().name + " " + result.value().address.host();
}

TEST(BaseInterfaces, PatternIsAListOfPrefixes) {
  EXPECT_EQ(selected("eth1"), "eth1 eth10");
  EXPECT_EQ(selected("eth0,lo"), "lo eth0");
  EXPECT_EQ(selected("ens"), "");
  EXPECT_EQ(selected(",eth0,"), "eth0");
}

TEST(BaseInterfaces, EqualsSignAsksForWholeNames) {
  EXPECT_EQ(selected("=eth1"), "eth1");
  EXPECT_EQ(selected("=eth"), "");
  EXPECT_EQ(selected("=eth0,eth10"), "eth0 eth10");
}

TEST(BaseInterfaces, CaretExcludes) {
  EXPECT_EQ(selected("^lo,docker"), "eth0 eth1 eth10");
  EXPECT_EQ(selected("^eth1"), "lo docker0 eth0");
  EXPECT_EQ(selected("^=eth1"), "lo docker0 eth0 eth10");
}

TEST(BaseInterfaces, EmptyPatternIsAllThatAreUp) {
  EXPECT_EQ(selected(""), "lo docker0 eth0 eth1 eth10");
}

TEST(BaseInterfaces, FamilyFilters) {
  EXPECT_EQ(selected("eth", AF_INET6), "eth0 eth1");
  EXPECT_EQ(selected("docker", AF_INET6), "");
}

TEST(BaseInterfaces, EachInterfaceIsThereOnceWithItsBestAddress) {
  std::vector<Interface> all = {make("eth0", "[fe80::1]", 64), make("eth0", "[2001:db8::1]", 64)};
  auto result = selectInterfaces(all, "", AF_UNSPEC);
  ASSERT_EQ(result.size(), 1u);
  EXPECT_EQ(result[0].address.host(), "2001:db8::1");
  all.push_back(make("eth0", "192.0.2.1"));
  result = selectInterfaces(all, "", AF_UNSPEC);
  ASSERT_EQ(result.size(), 1u);
  EXPECT_EQ(result[0].address.host(), "192.0.2.1");
}

TEST(BaseInterfaces, DefaultIsTheFirstRealOne) { EXPECT_EQ(chosen({}), "eth0 192.0.2.2"); }

TEST(BaseInterfaces, DefaultPrefersIpoib) {
  auto all = machine();
  all.push_back(make("ib0", "10.1.0.1"));
  EXPECT_EQ(chosen({}, all), "ib0 10.1.0.1");
}

TEST(BaseInterfaces, BridgesAndTunnelsAreTakenOnlyWhereNothingElseIsAndLoopbackLast) {
  for (const char* name :
       {"docker0", "br-1f2e", "virbr0", "veth12", "tun0", "tap3", "wg0", "ppp0"}) {
    const std::string host = std::string(name) + " 10.9.0.1";
    std::vector<Interface> all = {make("lo", "127.0.0.1", 8), make(name, "10.9.0.1")};
    EXPECT_EQ(chosen({}, all), host);
    all.push_back(make("eth0", "[fe80::1]", 64));
    EXPECT_EQ(chosen({}, all), "eth0 fe80::1");
  }
  EXPECT_EQ(chosen({}, {make("lo", "127.0.0.1", 8)}), "lo 127.0.0.1");
  EXPECT_FALSE(isVirtualInterface(make("br0", "10.0.0.1")));
  EXPECT_FALSE(isVirtualInterface(make("bond0", "10.0.0.1")));
  Interface tunnel = make("x0", "10.0.0.1");
  tunnel.pointToPoint = true;
  EXPECT_TRUE(isVirtualInterface(tunnel));
}

TEST(BaseInterfaces, OobNameGoesBeforeSocketName) {
  EXPECT_EQ(chosen({.oobIfname = "=eth10", .socketIfname = "=eth1"}), "eth10 203.0.113.2");
  EXPECT_EQ(chosen({.socketIfname = "=eth1"}), "eth1 198.51.100.2");
}

TEST(BaseInterfaces, NamedVirtualInterfaceIsTaken) {
  EXPECT_EQ(chosen({.socketIfname = "docker"}), "docker0 172.17.0.1");
  EXPECT_EQ(chosen({.socketIfname = "lo"}), "lo 127.0.0.1");
}

TEST(BaseInterfaces, ExclusionDoesNotFallOnLoopback) {
  EXPECT_EQ(chosen({.socketIfname = "^eth0"}), "eth1 198.51.100.2");
}

TEST(BaseInterfaces, SubnetOfTheRootIsPreferred) {
  EXPECT_EQ(chosen({.root = address("203.0.113.77:5000")}), "eth10 203.0.113.2");
  EXPECT_EQ(chosen({.root = address("127.0.0.1:5000")}), "lo 127.0.0.1");
  EXPECT_EQ(chosen({.socketIfname = "eth", .root = address("198.51.100.1:1")}),
            "eth1 198.51.100.2");
}

TEST(BaseInterfaces, FamilyWishGivesThatFamily) {
  EXPECT_EQ(chosen({.family = AF_INET6}), "eth1 2001:db8::2");
}

TEST(BaseInterfaces, NoMatchListsWhatThereIsAndWhatWasAsked) {
  EXPECT_EQ(
      chosen({.socketIfname = "=ens5"}, {make("lo", "127.0.0.1", 8), make("eth0", "192.0.2.2")}),
      "NCCL_SOCKET_IFNAME==ens5 matches no interface that is up; there are: lo 127.0.0.1, "
      "eth0 192.0.2.2; correct it or unset it");
  EXPECT_EQ(chosen({.oobIfname = "wlan", .family = AF_INET}, {machine().back()}),
            "NCCL_OOB_NET_IFNAME=wlan matches no interface with an IPv4 address that is up; there "
            "are: wlan0 192.0.2.9 (down); correct it or unset it");
  EXPECT_EQ(chosen({}, {}), "no network interface is up; there are: none");
  EXPECT_EQ(chooseBootstrapInterface({}, {.socketIfname = "x"}).status().code(),
            Code::kInvalidUsage);
}

TEST(BaseInterfaces, KernelsListHasLoopbackWithItsSubnet) {
  const auto all = listInterfaces();
  ASSERT_TRUE(all.ok()) << all.status().text();
  const auto loopbacks = selectInterfaces(all.value(), "=lo", AF_INET);
  if (loopbacks.empty()) GTEST_SKIP() << "lo is down in this network namespace";
  EXPECT_EQ(loopbacks[0].address.host(), "127.0.0.1");
  EXPECT_EQ(loopbacks[0].prefixLength, 8);
  EXPECT_TRUE(loopbacks[0].loopback);
  EXPECT_NE(loopbacks[0].index, 0u);
}

TEST(BaseInterfaces, BootstrapInterfaceFollowsTheEnvironment) {
  test::CleanEnvironment environment;
  environment.set("NCCL_SOCKET_IFNAME", "=lo");
  environment.set("NCCL_SOCKET_FAMILY", "AF_INET");
  settingsReload();
  const auto loopback = bootstrapInterface();
  ASSERT_TRUE(loopback.ok()) << loopback.status().text();
  EXPECT_EQ(loopback.value().address.host(), "127.0.0.1");
  environment.set("NCCL_OOB_NET_IFNAME", "none-such");
  settingsReload();
  const auto missing = bootstrapInterface();
  ASSERT_FALSE(missing.ok());
  EXPECT_TRUE(std::string(missing.status().text()).starts_with("NCCL_OOB_NET_IFNAME=none-such "));
}

}  // namespace
}  // namespace flexlink
