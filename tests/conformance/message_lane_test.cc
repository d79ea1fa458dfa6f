// SPDX-License-Identifier: Apache-2.0
// The message lane in the suite of all lanes, over one link and over several, of both kinds.
#include "lane/message/message_lane.h"

#include <gtest/gtest.h>

#include <functional>

#include "conformance/lane_suite.h"
#include "link/tcp/tcp_link.h"
#include "support/pcie_ends.h"

namespace flexlink {
namespace {

struct Held {
  std::vector<ProbeComm*> probes;
  std::vector<std::unique_ptr<MessageLane>> lanes;
  ~Held() {
    lanes.clear();
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

struct Links {
  int tcp;
  int pcie;
};

void connect(Bundle* a, Bundle* b, Links links) {
  for (int i = 0; i < links.tcp; ++i) connectTcp(a, b, "tcp" + std::to_string(i));
  for (int i = 0; i < links.pcie; ++i) connectPcie(a, b, "pcie" + std::to_string(i));
}

LaneSet makeMessageLanes(int ranks, Links links, const MessageTuning& tuning) {
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
  LaneSet set;
  for (int rank = 0; rank < ranks; ++rank) {
    held->probes.push_back(ProbeWriter::process()->openComm({}));
    held->lanes.push_back(std::make_unique<MessageLane>(rank, peers[static_cast<size_t>(rank)], 77,
                                                        tuning, held->probes.back()));
    set.lanes.push_back(held->lanes.back().get());
  }
  set.keep = held;
  return set;
}

struct Way {
  const char* name;
  Links links;
  MessageTuning tuning;
};

class MessageLaneWays : public testing::TestWithParam<Way> {
 protected:
  MakeLanes make() const {
    Way way = GetParam();
    return [way](int ranks) { return makeMessageLanes(ranks, way.links, way.tuning); };
  }
};

TEST_P(MessageLaneWays, CollectivesGiveExactResults) { collectivesGiveExactResults(make()); }
TEST_P(MessageLaneWays, SlicesGiveExactResults) { slicesGiveExactResults(make()); }
TEST_P(MessageLaneWays, MessagesArriveInOrder) { messagesArriveInOrder(make()); }
TEST_P(MessageLaneWays, BatchesMixMessagesAndCollectives) {
  batchesMixMessagesAndCollectives(make());
}
TEST_P(MessageLaneWays, BatchesOfMessagesDoNotWaitForEachOther) {
  batchesOfMessagesDoNotWaitForEachOther(make());
}
TEST_P(MessageLaneWays, BatchesOfMessagesKeepTheOrderOfAPair) {
  batchesOfMessagesKeepTheOrderOfAPair(make());
}
TEST_P(MessageLaneWays, MessagesToOneselfMeetAcrossBatches) {
  messagesToOneselfMeetAcrossBatches(make());
}
TEST_P(MessageLaneWays, UnlikeCallsFailOnAllRanks) { unlikeCallsFailOnAllRanks(make()); }
TEST_P(MessageLaneWays, AbortEndsWaiting) { abortEndsWaiting(make()); }

INSTANTIATE_TEST_SUITE_P(
    Ways, MessageLaneWays,
    testing::Values(Way{"oneLink", {1, 0}, {}},
                    Way{"smallSegments", {1, 0}, {8192, 2, 1 << 20, {}}}, Way{"pcie", {0, 1}, {}},
                    Way{"pcieAndTcp", {1, 1}, {65536, 4, 8 << 20, {}}},
                    Way{"threeLinks", {3, 0}, {65536, 4, 8 << 20, {}}},
                    Way{"oneShot", {2, 0}, {65536, 2, 1 << 20, Pattern::kOneShot}},
                    Way{"tree", {1, 0}, {65536, 3, 1 << 20, Pattern::kTree}},
                    Way{"ring", {2, 0}, {32768, 3, 1 << 20, Pattern::kRing}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace flexlink
