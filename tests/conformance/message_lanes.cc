// SPDX-License-Identifier: Apache-2.0
#include "conformance/message_lanes.h"

#include <gtest/gtest.h>

#include <functional>

#include "link/tcp/tcp_link.h"
#include "support/pcie_ends.h"

namespace flexlink {
namespace {

struct Held {
  std::vector<ProbeComm*> probes;
  ~Held() {
    for (ProbeComm* probe : probes) ProbeWriter::process()->closeComm(probe);
  }
};

using MakeLink = std::function<std::unique_ptr<Link>(LinkEvents)>;

void connectTcp(Bundle* a, Bundle* b, const std::string& name) {
  auto [one, other] = lifelines();
  Fd* fds[2] = {&one, &other};
  Bundle* sides[2] = {a, b};
  for (int side = 0; side < 2; ++side) {
    const MakeLink make = [&](LinkEvents events) {
      return std::make_unique<TcpLink>(name, std::move(*fds[side]), std::move(events));
    };
    sides[side]->add(make, LinkModel(1e9, 20'000));
  }
}

void connectPcie(Bundle* a, Bundle* b, const std::string& name) {
  PcieSegment segment = PcieSegment::make(HostDevice(), 64 << 10).value();
  auto [one, other] = lifelines();
  Fd* fds[2] = {&one, &other};
  Bundle* sides[2] = {a, b};
  for (int side = 0; side < 2; ++side) {
    const MakeLink make = [&](LinkEvents events) {
      return pcieEnd(name, std::make_shared<HostDevice>(), segment, side, std::move(*fds[side]),
                     std::move(events));
    };
    sides[side]->add(make, LinkModel(1e9, 20'000));
  }
}

void connect(Bundle* a, Bundle* b, Links links) {
  for (int i = 0; i < links.tcp; ++i) connectTcp(a, b, "tcp" + std::to_string(i));
  for (int i = 0; i < links.pcie; ++i) connectPcie(a, b, "pcie" + std::to_string(i));
}

}  // namespace

OwnedLanes makeMessageLanes(int ranks, Links links, const MessageTuning& tuning) {
  auto held = std::make_shared<Held>();
  std::vector<std::vector<MessagePeer>> peers(static_cast<size_t>(ranks),
                                              std::vector<MessagePeer>(static_cast<size_t>(ranks)));
  for (int a = 0; a < ranks; ++a) {
    for (int b = 0; b < ranks; ++b) {
      MessagePeer& peer = peers[static_cast<size_t>(a)][static_cast<size_t>(b)];
      peer.rank = b;
      peer.name = "rank " + std::to_string(b);
      if (a != b) peer.bundle = std::make_shared<Bundle>(peer.name);
    }
  }
  for (size_t a = 0; a < peers.size(); ++a) {
    for (size_t b = a + 1; b < peers.size(); ++b) {
      connect(peers[a][b].bundle.get(), peers[b][a].bundle.get(), links);
    }
  }
  OwnedLanes made;
  for (int rank = 0; rank < ranks; ++rank) {
    held->probes.push_back(ProbeWriter::process()->openComm({}));
    made.lanes.push_back(std::make_unique<MessageLane>(rank, peers[static_cast<size_t>(rank)], 77,
                                                       tuning, held->probes.back()));
  }
  made.keep = held;
  return made;
}

}  // namespace flexlink
