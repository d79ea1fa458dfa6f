// SPDX-License-Identifier: Apache-2.0
// Addresses as values: text, bytes, subnets, names.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <string.h>

#include "base/socket.h"

namespace flexlink {
namespace {

std::string roundTrip(const std::string& text) {
  const Result<SocketAddress> address = parse(text);
  return address.ok() ? address.value().text() : std::string(address.status().text());
}

TEST(BaseAddress, TextOfBothFamiliesComesBack) {
  EXPECT_EQ(roundTrip("192.0.2.1:80"), "192.0.2.1:80");
  EXPECT_EQ(roundTrip("[2001:db8::1]:65535"), "[2001:db8::1]:65535");
  EXPECT_EQ(roundTrip("[fe80::1%lo]:5"), "[fe80::1%lo]:5");
  EXPECT_EQ(parse("[fe80::1%lo]:5").value().scope(), parse("[fe80::1%1]:5").value().scope());
  EXPECT_EQ(roundTrip("[fe80::1%4000000]:5"), "[fe80::1%4000000]:5");
}

TEST(BaseAddress, BadTextSaysWhyAndShowsTheForm) {
  const std::string form = "; expected HOST:PORT, e.g. 192.0.2.1:5000 or [fe80::1%eth0]:5000";
  EXPECT_EQ(roundTrip("192.0.2.1"), "address '192.0.2.1': it has no port" + form);
  EXPECT_EQ(roundTrip("::1:80"), "address '::1:80': an IPv6 address needs brackets" + form);
  EXPECT_EQ(roundTrip(":80"), "address ':80': it has no host" + form);
  for (const char* port : {"", "x", "70000", "-1", "8 "}) {
    const std::string text = std::string("192.0.2.1:") + port;
    EXPECT_EQ(roundTrip(text),
              "address '" + text + "': the port is not a number from 0 to 65535" + form);
  }
  EXPECT_EQ(roundTrip("host:80"), "address 'host:80': the host is not a number" + form);
  EXPECT_EQ(roundTrip("[1.2.3.4]:80"),
            "address '[1.2.3.4]:80': what is between the brackets is no IPv6 address" + form);
  EXPECT_EQ(roundTrip("[fe80::1%no-such]:80"),
            "address '[fe80::1%no-such]:80': this host has no interface of that name" + form);
}

TEST(BaseAddress, BytesComeBackAndRubbishIsRefused) {
  const SocketAddress v6 = parse("[2001:db8::1]:80").value();
  EXPECT_EQ(SocketAddress::fromBytes(v6.bytes()).value(), v6);
  std::array<uint8_t, SocketAddress::kBytes> bytes{};
  EXPECT_EQ(SocketAddress::fromBytes(bytes).status().code(), Code::kInvalidArgument);
  bytes.fill(0xff);
  EXPECT_EQ(SocketAddress::fromBytes(bytes).status().code(), Code::kInvalidArgument);
  for (size_t length : {0, 1, 2, 15, 16, 27}) {
    EXPECT_FALSE(SocketAddress::fromBytes(std::span(v6.bytes()).first(length)).ok()) << length;
  }
}

TEST(BaseAddress, PaddingNeverMakesEqualAddressesDiffer) {
  std::array<uint8_t, SocketAddress::kBytes> bytes = parse("192.0.2.1:80").value().bytes();
  for (size_t i = 8; i < bytes.size(); ++i) bytes[i] = 0xee;
  EXPECT_EQ(SocketAddress::fromBytes(bytes).value(), parse("192.0.2.1:80").value());
}

TEST(BaseAddress, EmptyAddressIsNotValid) {
  const SocketAddress empty;
  EXPECT_FALSE(empty.valid());
  EXPECT_EQ(empty.text(), "(no address)");
  EXPECT_EQ(empty.port(), 0);
  EXPECT_EQ(empty.length(), 0u);
  EXPECT_FALSE(empty.isAny());
  EXPECT_FALSE(empty.sameSubnet(empty, 0));
}

TEST(BaseAddress, KindsAreRecognised) {
  EXPECT_EQ(SocketAddress::loopback(AF_INET, 7).text(), "127.0.0.1:7");
  EXPECT_EQ(SocketAddress::loopback(AF_INET6, 7).text(), "[::1]:7");
  EXPECT_TRUE(SocketAddress::loopback(AF_INET6).isLoopback());
  EXPECT_TRUE(parse("127.8.8.8:1").value().isLoopback());
  EXPECT_FALSE(parse("128.0.0.1:1").value().isLoopback());
  EXPECT_TRUE(SocketAddress::any(AF_INET6).isAny());
  EXPECT_FALSE(SocketAddress::loopback(AF_INET6).isAny());
  EXPECT_TRUE(parse("[febf::1]:1").value().isLinkLocal());
  EXPECT_FALSE(parse("[fec0::1]:1").value().isLinkLocal());
  EXPECT_TRUE(parse("169.254.1.1:1").value().isLinkLocal());
}

TEST(BaseAddress, SubnetComparesExactlyTheBits) {
  const SocketAddress a = parse("192.0.2.1:1").value();
  EXPECT_TRUE(a.sameSubnet(parse("192.0.2.254:9").value(), 24));
  EXPECT_FALSE(a.sameSubnet(parse("192.0.2.254:9").value(), 25));
  EXPECT_TRUE(a.sameSubnet(parse("192.0.2.1:9").value(), 32));
  EXPECT_TRUE(a.sameSubnet(parse("10.0.0.1:9").value(), 0));
  EXPECT_FALSE(a.sameSubnet(parse("[::1]:1").value(), 0));
  const SocketAddress six = parse("[2001:db8:0:8000::1]:1").value();
  EXPECT_TRUE(six.sameSubnet(parse("[2001:db8::1]:1").value(), 48));
  EXPECT_FALSE(six.sameSubnet(parse("[2001:db8::1]:1").value(), 49));
}

TEST(BaseAddress, ScopeOfAPeerCanBeReplaced) {
  SocketAddress address = parse("[fe80::1%1]:1").value();
  address.setScope(0);
  EXPECT_EQ(address.text(), "[fe80::1]:1");
  SocketAddress v4 = parse("192.0.2.1:1").value();
  v4.setScope(3);
  EXPECT_EQ(v4, parse("192.0.2.1:1").value());
}

TEST(BaseAddress, NumbersResolveWithoutALookUpAndTheFamilyIsChecked) {
  EXPECT_EQ(resolve("192.0.2.1:80").value().text(), "192.0.2.1:80");
  EXPECT_EQ(resolve("[::1]:80", AF_INET6).value().text(), "[::1]:80");
  EXPECT_STREQ(resolve("[::1]:80", AF_INET).status().text(),
               "address '[::1]:80' is IPv6, but NCCL_SOCKET_FAMILY asks for IPv4");
}

TEST(BaseAddress, LocalhostResolvesWithItsPort) {
  const auto address = resolve("localhost:4711", AF_INET);
  ASSERT_TRUE(address.ok()) << address.status().text();
  EXPECT_EQ(address.value().text(), "127.0.0.1:4711");
}

TEST(BaseAddress, UnknownHostIsNamed) {
  // ".invalid" never exists (RFC 2606). Without any name server the answer is a different error.
  const auto address = resolve("flexlink.invalid:80");
  ASSERT_FALSE(address.ok());
  EXPECT_NE(std::string(address.status().text()).find("host 'flexlink.invalid'"), std::string::npos)
      << address.status().text();
}

}  // namespace
}  // namespace flexlink
