// SPDX-License-Identifier: Apache-2.0
// The image lane in the suite of all lanes: over each lane that may lie below it, with copies that
// whoever polls does, and with copies that a device does in its own time.
#include "lane/image/image_lane.h"

#include <gtest/gtest.h>

#include "conformance/hier_lanes.h"
#include "conformance/memory_lanes.h"
#include "conformance/message_lanes.h"
#include "support/slow_device.h"

namespace flexlink {
namespace {

// Small pieces, so that small calls have many.
constexpr ImageTuning kTuning{64 << 10, 16 << 10, 16 << 10};

struct Probes {
  std::shared_ptr<void> below;
  std::vector<ProbeComm*> all;
  ~Probes() {
    for (ProbeComm* probe : all) ProbeWriter::process()->closeComm(probe);
  }
};

OwnedLanes imagesOver(OwnedLanes below, const MakeDevice& device, ImageTuning tuning) {
  auto held = std::make_shared<Probes>();
  held->below = below.keep;
  OwnedLanes made;
  const auto ranks = static_cast<int>(below.lanes.size());
  for (int rank = 0; rank < ranks; ++rank) {
    auto memory = ImageMemory::open(device(), ranks, tuning);
    EXPECT_TRUE(memory.ok()) << memory.status().text();
    held->all.push_back(ProbeWriter::process()->openComm({}));
    made.lanes.push_back(
        std::make_unique<ImageLane>(ImageLane::Rank{rank, ranks}, std::move(memory.value()),
                                    std::move(below.lanes[static_cast<size_t>(rank)]),
                                    held->all.back(), MessageLane::kProbeLane));
  }
  made.keep = held;
  return made;
}

OwnedLanes overMemory(int ranks) {
  return makeMemoryLanes(ranks, tuned(true, 1024, 65536, 2), 1 << 20);
}
OwnedLanes overMessages(int ranks) { return makeMessageLanes(ranks, {1, 0}, {}); }
OwnedLanes overHosts(int ranks) {
  return makeHierLanes(ranks, [](int rank, int all) { return 2 * rank >= all ? 1ul : 0ul; });
}

std::shared_ptr<Device> driven() { return std::make_shared<HostDevice>(); }
std::shared_ptr<Device> slow() { return std::make_shared<SlowDevice>(); }

struct Way {
  const char* name;
  OwnedLanes (*below)(int ranks);
  std::shared_ptr<Device> (*device)();
  ImageTuning tuning;
};

class ImageLaneWays : public testing::TestWithParam<Way> {
 protected:
  MakeLanes make() const {
    const Way way = GetParam();
    return
        [way](int ranks) { return laneSet(imagesOver(way.below(ranks), way.device, way.tuning)); };
  }
};

TEST_P(ImageLaneWays, CollectivesGiveExactResults) { collectivesGiveExactResults(make()); }
TEST_P(ImageLaneWays, SlicesGiveExactResults) { slicesGiveExactResults(make()); }
TEST_P(ImageLaneWays, MessagesArriveInOrder) { messagesArriveInOrder(make()); }
TEST_P(ImageLaneWays, BatchesMixMessagesAndCollectives) {
  batchesMixMessagesAndCollectives(make());
}
TEST_P(ImageLaneWays, BatchesOfMessagesDoNotWaitForEachOther) {
  batchesOfMessagesDoNotWaitForEachOther(make());
}
TEST_P(ImageLaneWays, BatchesOfMessagesKeepTheOrderOfAPair) {
  batchesOfMessagesKeepTheOrderOfAPair(make());
}
TEST_P(ImageLaneWays, MessagesToOneselfMeetAcrossBatches) {
  messagesToOneselfMeetAcrossBatches(make());
}
TEST_P(ImageLaneWays, AReceiveEndsAloneWhenItsSenderHasLeft) {
  aReceiveEndsAloneWhenItsSenderHasLeft(make());
}
TEST_P(ImageLaneWays, UnlikeCallsFailOnAllRanks) { unlikeCallsFailOnAllRanks(make()); }
TEST_P(ImageLaneWays, AbortEndsWaiting) { abortEndsWaiting(make()); }

INSTANTIATE_TEST_SUITE_P(Ways, ImageLaneWays,
                         testing::Values(Way{"overMemory", overMemory, driven, kTuning},
                                         Way{"overMessages", overMessages, driven, kTuning},
                                         Way{"overHosts", overHosts, driven, kTuning},
                                         Way{"slowOverMessages", overMessages, slow, kTuning},
                                         Way{"slowOverHosts", overHosts, slow, kTuning},
                                         Way{"wholeOverHosts", overHosts, slow, {}}),
                         [](const auto& info) { return info.param.name; });

TEST(ImageLane, NoDeviceWritesToMemoryAfterACallHasFailed) {
  std::vector<std::shared_ptr<SlowDevice>> devices;
  const auto device = [&] { return devices.emplace_back(std::make_shared<SlowDevice>()); };
  LaneSet set = laneSet(imagesOver(overMessages(2), device, kTuning));
  noDeviceWritesAfterAFailure(set, devices[0].get(), 400'000, HoldBack::kUnderWay);
}

// ---- What is copied where, and what is called.

Call callOf(Collective kind, size_t count, const int32_t* send, int32_t* recv) {
  Call call;
  call.kind = kind;
  call.type = DataType::kInt32;
  call.send = send;
  call.recv = recv;
  call.count = count;
  return call;
}

TEST(ImagePlan, BlocksOfASliceLieSideBySideInTheImage) {
  std::vector<int32_t> send(300), recv(300);
  uint8_t image[1024];
  const Whole whole{1, 100};
  const Call call = callOf(Collective::kAllGather, 100, send.data(), recv.data());
  const ImageSlice slice = imageSlice(call, 1, 3, {10, 30}, &whole, image);
  EXPECT_EQ(slice.in, (std::vector<ImageCopy>{{40, 80, 80}}));
  EXPECT_EQ(slice.out, (std::vector<ImageCopy>{{40, 0, 80}, {440, 80, 80}, {840, 160, 80}}));
  EXPECT_EQ(slice.call.send, image + 80);
  EXPECT_EQ(slice.call.recv, image);
  EXPECT_EQ(slice.call.count, 20u);
  EXPECT_EQ(strideOf(slice.call), 20u);
  EXPECT_EQ(slice.call.whole, &whole);
}

TEST(ImagePlan, WholeBlocksAreOneCopyAndAnOwnBlockInPlaceIsNone) {
  std::vector<int32_t> memory(300);
  uint8_t image[1200];
  const Whole whole;
  const Call call = callOf(Collective::kAllGather, 100, memory.data() + 100, memory.data());
  const ImageSlice slice = imageSlice(call, 1, 3, {0, 100}, &whole, image);
  EXPECT_EQ(slice.in, (std::vector<ImageCopy>{{0, 400, 400}}));
  EXPECT_EQ(slice.out, (std::vector<ImageCopy>{{0, 0, 400}, {800, 800, 400}}));
  const Call scatter = callOf(Collective::kReduceScatter, 100, memory.data(), memory.data());
  EXPECT_EQ(imageSlice(scatter, 2, 3, {0, 100}, &whole, image).in,
            (std::vector<ImageCopy>{{0, 0, 1200}}));
}

TEST(ImagePlan, WhoGivesOrTakesNothingCopiesNothing) {
  std::vector<int32_t> send(300), recv(300);
  uint8_t image[1200];
  const Whole whole;
  for (Collective kind : {Collective::kBroadcast, Collective::kScatter}) {
    Call call = callOf(kind, 100, send.data(), recv.data());
    call.root = 1;
    EXPECT_TRUE(imageSlice(call, 0, 3, {0, 100}, &whole, image).in.empty());
    EXPECT_EQ(imageSlice(call, 0, 3, {0, 100}, &whole, image).out.size(), 1u);
  }
  for (Collective kind : {Collective::kReduce, Collective::kGather}) {
    Call call = callOf(kind, 100, send.data(), recv.data());
    call.root = 1;
    EXPECT_TRUE(imageSlice(call, 0, 3, {0, 100}, &whole, image).out.empty());
    EXPECT_EQ(imageSlice(call, 0, 3, {0, 100}, &whole, image).in.size(), 1u);
  }
}

// Of any kind, number of ranks and size: no image is larger than its place, and slices are as
// equal as they can be.
TEST(ImagePlan, NoImageIsLargerThanItsPlace) {
  const ImageTuning tuning{1 << 20, 1 << 16, 1 << 16};
  for (int ranks : {1, 2, 3, 64, 1000, 30'000}) {
    for (size_t count : {size_t{0}, size_t{1}, size_t{1000}, size_t{100'001}, size_t{50'000'000}}) {
      for (Collective kind : {Collective::kAllReduce, Collective::kAllGather,
                              Collective::kReduceScatter, Collective::kAlltoAll}) {
        const size_t blocks = kind == Collective::kAllReduce  ? 1
                              : kind == Collective::kAlltoAll ? 2 * static_cast<size_t>(ranks)
                                                              : static_cast<size_t>(ranks);
        const Call call = callOf(kind, count, nullptr, nullptr);
        const size_t elements = imageElements(call, ranks, tuning);
        EXPECT_GE(elements, 1u);
        EXPECT_LE(elements * blocks * sizeof(int32_t), tuning.slotBytes) << ranks << " " << count;
      }
    }
  }
}

}  // namespace
}  // namespace flexlink
