// SPDX-License-Identifier: Apache-2.0
// Which of this host's NICs carry data, and which of them is joined with which of a peer's: pure
// functions that say why. flexlink/doctor/nics.py has the same rule for one host; tests/data/
// nic_cases.txt holds both to it.
#pragma once

#include <string>
#include <vector>

#include "base/interfaces.h"
#include "base/link_wish.h"
#include "base/nic_facts.h"

namespace flexlink {

// What one process offers at most.
inline constexpr size_t kMostNics = 8;
inline constexpr size_t kMostNicAddresses = 2 * kMostNics;
// To one peer: FLEXLINK_SOCKETS for each pair, and a pair for each NIC of either side.
inline constexpr size_t kMostConnections = 16 * 2 * kMostNics;

struct NicWish {
  std::string socketIfname;     // NCCL_SOCKET_IFNAME
  std::vector<LinkName> links;  // FLEXLINK_LINKS; where there are any, they alone choose and order
  int family = AF_UNSPEC;
};

enum class NicVerdict : uint8_t {
  kYes,
  kPeer,  // if the peer is on the same subnet
  kNo,
};

// One NIC with what becomes of it.
struct NicPlace {
  std::string name;
  NicVerdict verdict = NicVerdict::kNo;
  std::string why;  // one phrase
};

// Pure. All NICs that have an address, in the order given. `facts` may be empty, where the kernel
// does not give them: then names tell what is virtual. `bootstrap`: where ranks meet this process.
std::vector<NicPlace> placeNics(const std::vector<Interface>& interfaces,
                                const std::vector<NicFacts>& facts, const NicWish& wish,
                                const SocketAddress& bootstrap);

// An address of a NIC as peers get to know it; a NIC may have several.
struct NicAddress {
  std::string nic;
  SocketAddress address;
  int prefixLength = 0;
};

// One of two processes that are to be connected.
struct NicSide {
  std::vector<NicAddress> addresses;  // in the order of preference
  NicAddress bootstrap;               // where ranks meet it
  bool named = false;                 // its user has named the NICs: any route to them will do
};

// Pure. What this process offers to its peers: the addresses of the NICs that are not out, else of
// the one that ranks meet over; lo comes last. At most kMostNics, with two addresses each. The
// error: FLEXLINK_LINKS names none that there is.
Result<NicSide> offeredNics(const std::vector<Interface>& interfaces,
                            const std::vector<NicPlace>& places, const NicWish& wish,
                            const SocketAddress& bootstrap);

// A NIC of ours and one of the peer's.
struct NicPair {
  size_t own = 0;   // which of own.addresses
  size_t peer = 0;  // which of peer.addresses
  bool used = false;
  std::string why;  // one phrase
};

// Pure. Every NIC with every NIC of the peer, in the order of ours. Of those that reach each other,
// directly connected ones are joined first, each with one; then whoever is left over, with the
// least used one that it reaches. oneLoopback: both processes see the same lo. The same on both
// sides, the other way round, as long as both know the same.
std::vector<NicPair> pairNics(const NicSide& own, const NicSide& peer, bool oneLoopback);

// Pure. TCP connections for each pair that this NIC of ours is part of. `wish`: FLEXLINK_SOCKETS.
// Where it is -1, one; but clouds that limit the rate of each flow need more: which vendors, and
// how many for a thread, is what NCCL does too (net_socket.cc).
size_t connectionsOf(const std::string& nic, const std::vector<NicFacts>& facts, int64_t wish);

// Pure. Those of our offered NICs that no pair uses, each once, and why; lo apart, of which
// placeNics says it.
std::vector<NicPlace> unusedNics(const NicSide& own, const std::vector<NicPair>& pairs);

}  // namespace flexlink
