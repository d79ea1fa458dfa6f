// SPDX-License-Identifier: Apache-2.0
// Where this process's data connections are made: a listener on each data NIC, one bundle for each
// peer process. Which NICs: base/nic_pairs.h. All of it runs on the control thread unless said
// otherwise.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/nic_card.h"
#include "base/status.h"
#include "device/host/exchange.h"
#include "link/bundle.h"

namespace flexlink {

// Where peers may connect. Opens the listeners on first use. Any thread.
Result<NicCard> myNicCard();

// Of all NICs of this host, as they were when the listeners were opened. Any thread.
std::vector<NicPlace> myNicPlaces();

// Keeps what has been seen of the links for the next job (link/profile.h). Control thread.
void rememberLinks();

// What is known of a peer process before there is a connection.
struct DataPeer {
  ProcessId id{};
  Cookie cookie{};  // opens its door
  std::string name;
  NicSide nics;
  bool oneLoopback = false;  // its lo is ours
};

// Makes the connections to a peer, NIC by NIC (one process of the two dials), or finds them made.
// The peer must call this, too. `done` gets the bundle as soon as every connection is there or has
// failed and at least one is there; else an error by the deadline (ns, nowNanos() scale).
using BundleReady = std::function<void(Result<std::shared_ptr<Bundle>>)>;
void connectBundle(const DataPeer& peer, int64_t deadline, BundleReady done);

}  // namespace flexlink
