// SPDX-License-Identifier: Apache-2.0
// What the door (tcp_door.cc) keeps of each peer and of each connection. Control thread only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/reactor.h"
#include "link/pcie/pcie_call.h"
#include "link/tcp/handshake.h"
#include "link/tcp/tcp_door.h"

namespace flexlink {

// A link that was lost is dialled again after a while, which doubles as long as it fails.
inline constexpr int64_t kFirstPauseNanos = 100'000'000;

// The place of the link through shared memory, behind those of the TCP connections.
inline constexpr uint32_t kPcieNumber = kMostConnections;
inline constexpr const char* kPcieName = "pcie";

// What is not yet more than memory that two processes share.
struct PcieWaiting {
  ProcessId id{};  // of the peer
  std::unique_ptr<PcieCall> call;
  bool dials = false;
  Reactor::TimerId timer = 0;
};

// What is not yet more than a connection.
struct DoorCall {
  Handshake talk;
  int64_t since = 0;  // ns
  std::string nic;    // ours
  Reactor::TimerId timer = 0;
  ProcessId id{};       // dialed: whom
  uint32_t number = 0;  // likewise: as which pair
};

// One connection of a pair of NICs, by number in DoorEntry.
struct DoorPair {
  std::string name;                 // of the link
  std::string peerHost;             // address of the other end
  std::optional<Handshake> passed;  // a connection that is not yet in the bundle
  std::unique_ptr<PcieCall> pcie;   // or shared memory
  bool there() const { return passed || pcie; }
  std::string trouble;   // why there is none
  uint32_t round = 0;    // of the last dial
  bool dialing = false;  // or about to
  int64_t madeAt = 0;    // ns
  int64_t pause = kFirstPauseNanos;
  Reactor::TimerId timer = 0;  // until the next dial
};

// All about one peer.
struct DoorEntry {
  DataPeer peer;                // where this side dials
  std::vector<NicPair> joints;  // NICs of ours and of the peer's, used or not
  std::vector<NicPair> dialed;  // those that are used, by number of the connection
  std::shared_ptr<Bundle> bundle;
  bool ready = false;
  bool dialing = false;
  bool hurried = false;  // one connection has passed: the others have not much time left
  size_t awaited = 0;    // of the connections, not yet concluded
  uint32_t gone = 0;     // callee: links that have said kGo
  std::map<uint32_t, DoorPair> pairs;
  std::vector<BundleReady> waiting;
  std::string troubles;
};

}  // namespace flexlink
