// SPDX-License-Identifier: Apache-2.0
// Which network interfaces this host has, and which of them the user or good sense picks. Reading
// the kernel's list and choosing are apart: the choosing is pure.
#pragma once

#include <string>
#include <vector>

#include "base/socket.h"
#include "base/status.h"

namespace flexlink {

// One address of one interface: an interface with two addresses is there twice.
struct Interface {
  std::string name;
  SocketAddress address;  // port 0
  int prefixLength = 0;   // of the subnet, bits
  unsigned index = 0;     // the kernel's number, as in IPv6 scopes
  bool up = false;        // administratively up and with a carrier
  bool loopback = false;
  bool pointToPoint = false;
};

// All IPv4 and IPv6 addresses in the kernel's order; also of interfaces that are down.
Result<std::vector<Interface>> listInterfaces();

// The interfaces that are up and match, in the order given, one address each (IPv4, then global
// IPv6, then link-local). pattern: NCCL_SOCKET_IFNAME's syntax: prefixes with commas; leading ^:
// all but these; leading =: whole names; ^=: both. "" matches all. family: AF_UNSPEC: both.
std::vector<Interface> selectInterfaces(const std::vector<Interface>& interfaces,
                                        const std::string& pattern, int family);

// One name and one pattern of that syntax.
bool matchesPattern(const std::string& pattern, const std::string& name);

// Docker's and other bridges, veth, tun, VPNs: never taken unless asked for or alone.
bool isVirtualInterface(const Interface& interface);

// What the user asked for about the choice of one interface.
struct InterfaceWish {
  std::string oobIfname;
  std::string socketIfname;
  int family = AF_UNSPEC;
  SocketAddress root;  // where rank 0 listens, if that is known: its subnet is preferred
};

// Pure. The error lists what there is and what was asked.
Result<Interface> chooseBootstrapInterface(const std::vector<Interface>& interfaces,
                                           const InterfaceWish& wish);

// chooseBootstrapInterface of this host with the settings.
Result<Interface> bootstrapInterface();

int socketFamily();  // NCCL_SOCKET_FAMILY as AF_INET, AF_INET6 or AF_UNSPEC

// "lo 127.0.0.1, eth0 192.0.2.2, eth1 192.0.3.2 (down)": for messages.
std::string interfaceList(const std::vector<Interface>& interfaces);

}  // namespace flexlink
