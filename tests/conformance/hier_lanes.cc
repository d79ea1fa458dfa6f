// SPDX-License-Identifier: Apache-2.0
#include "conformance/hier_lanes.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "link/tcp/tcp_link.h"

namespace flexlink {
namespace {

struct Held {
  std::vector<ProbeComm*> probes;
  std::vector<std::shared_ptr<OwnSegment>> segments;
  ~Held() {
    for (ProbeComm* probe : probes) ProbeWriter::process()->closeComm(probe);
  }
  ProbeComm* probe() {
    probes.push_back(ProbeWriter::process()->openUnseen());
    return probes.back();
  }
};

// Bundles between ranks of different hosts, by rank and peer; one rank context for each rank.
using Bundles = std::vector<std::vector<std::shared_ptr<Bundle>>>;

Bundles connectHosts(const HostMap& map) {
  auto ranks = static_cast<size_t>(map.ranks());
  Bundles bundles(ranks, std::vector<std::shared_ptr<Bundle>>(ranks));
  for (size_t a = 0; a < ranks; ++a) {
    for (size_t b = a + 1; b < ranks; ++b) {
      if (map.hostOf[a] == map.hostOf[b]) continue;
      int ends[2];
      EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
      for (auto [me, other, fd] : {std::tuple{a, b, ends[0]}, std::tuple{b, a, ends[1]}}) {
        bundles[me][other] = std::make_shared<Bundle>("rank " + std::to_string(other));
        bundles[me][other]->add(
            [fd = fd](LinkEvents events) {
              return std::make_unique<TcpLink>("pair", Fd(fd), std::move(events));
            },
            LinkModel(1e9, 20'000));
      }
    }
  }
  return bundles;
}

MemoryTuning tuning() {
  MemoryTuning tuning;
  tuning.eagerBytes = tuning.eagerFoldBytes = 1024;
  return tuning;
}

}  // namespace

OwnedLanes makeHierLanes(int ranks, HostOf hostOf) {
  EXPECT_TRUE(myProcessCard().ok());
  auto held = std::make_shared<Held>();
  SegmentLayout layout{ranks, 1 << 20};
  std::vector<uint64_t> hashes;
  for (int rank = 0; rank < ranks; ++rank) {
    hashes.push_back(hostOf(rank, ranks));
    held->segments.push_back(OwnSegment::create(layout).value());
  }
  Bundles bundles = connectHosts(makeHostMap(0, hashes));
  OwnedLanes made;
  for (int rank = 0; rank < ranks; ++rank) {
    HostMap map = makeHostMap(rank, hashes);
    auto messages = [&](const std::vector<int>& who, int place, uint64_t id) {
      std::vector<MessagePeer> peers;
      for (int one : who) {
        peers.push_back({bundles[static_cast<size_t>(rank)][static_cast<size_t>(one)], one,
                         "rank " + std::to_string(one)});
      }
      return std::make_unique<MessageLane>(place, peers, id, MessageTuning{8192, 2, 1 << 20, {}},
                                           held->probe());
    };
    std::vector<MemoryPeer> neighbours;
    for (int one : map.neighbours()) {
      MemoryPeer& peer = neighbours.emplace_back();
      peer.own = held->segments[static_cast<size_t>(one)];
      peer.segment = Segment(peer.own->base(), layout);
      peer.bell = &myDoorbell();
      peer.rank = one;
      peer.name = "rank " + std::to_string(one);
    }
    std::vector<int> all, rail;
    for (int one = 0; one < ranks; ++one) all.push_back(one);
    HierLanes lanes;
    lanes.memory =
        std::make_unique<MemoryLane>(map.local(), neighbours, layout, tuning(), held->probe());
    lanes.pairs = messages(all, rank, 1);
    if (map.onRail()) {
      for (const auto& host : map.ranksOf) rail.push_back(host[static_cast<size_t>(map.local())]);
      lanes.rail = messages(rail, map.host(), 100 + static_cast<uint64_t>(map.local()));
    }
    made.lanes.push_back(std::make_unique<HierLane>(map, std::move(lanes), held->probe()));
  }
  made.keep = held;
  return made;
}

}  // namespace flexlink
