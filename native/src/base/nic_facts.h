// SPDX-License-Identifier: Apache-2.0
// What the kernel says of network interfaces beside their addresses: of what kind they are, what
// they are a port of and what lies below them. What follows from it is for nic_pairs.h to say.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace flexlink {

struct NicFacts {
  std::string name;
  unsigned index = 0;
  std::string kind;     // rtnetlink's word: "bridge", "bond", "vlan", "veth", ...; "" for hardware
  int arpType = 1;      // ARPHRD number: 1 Ethernet, 32 InfiniBand, 65534 none
  unsigned flags = 0;   // IFF_*
  unsigned master = 0;  // index of the bond or bridge that it is a port of, or 0
  unsigned lower = 0;   // index of the NIC below (vlan, macvlan), or 0
  bool lowerElsewhere = false;  // the NIC below is in another network namespace
  std::string parent;           // name of the NIC whose virtual function (SR-IOV) this is, or ""
  std::string vendor;           // of the PCI device, as in "0x15b3", or ""
};

// All interfaces of this network namespace, by rtnetlink: /sys may show another namespace's.
Result<std::vector<NicFacts>> readNicFacts();

// Pure: the payload of one RTM_NEWLINK; without what only /sys knows.
NicFacts parseNicFacts(std::span<const uint8_t> payload);

}  // namespace flexlink
