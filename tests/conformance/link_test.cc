// SPDX-License-Identifier: Apache-2.0
// What a bundle relies on in every link: order, places, memory that is left alone, an end, a
// wake-up and what the kernel knows of the other side. Over TCP, over a local socket, which has no
// such kernel, and through pinned memory: with a large buffer, with a small one, and with copies
// that a device does by itself.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/socket.h"
#include "engine/fd_bell.h"
#include "link/tcp/tcp_link.h"
#include "support/pcie_ends.h"
#include "support/slow_device.h"

namespace flexlink {
namespace {

enum class Over { kTcp, kLocal, kPcie, kSmallPcie, kDevicePcie };

std::pair<Fd, Fd> connected(Over over) {
  if (over == Over::kLocal) return lifelines();
  Fd door = std::move(listenTcp(SocketAddress::loopback(AF_INET)).value());
  Fd out = std::move(connectTcpStart(localAddress(door.get()).value()).value());
  for (;;) {
    Result<Fd> in = acceptConnection(door.get());
    if (in.ok()) return {std::move(out), std::move(in.value())};
  }
}

class LinkSuite : public testing::TestWithParam<Over> {
 protected:
  void SetUp() override {
    LinkEvents events;
    events.place = [this](const FrameHeader& header) { return place(header); };
    events.arrived = [this](const FrameHeader& header) { arrived_.push_back(header.chunk); };
    if (GetParam() == Over::kTcp || GetParam() == Over::kLocal) {
      auto [one, other] = connected(GetParam());
      from_ = std::make_unique<TcpLink>("from", std::move(one), LinkEvents{});
      to_ = std::make_unique<TcpLink>("to", std::move(other), std::move(events));
      return;
    }
    auto device = [] {
      return GetParam() == Over::kDevicePcie ? std::shared_ptr<Device>(new SlowDevice)
                                             : std::shared_ptr<Device>(new HostDevice);
    };
    const size_t ring = GetParam() == Over::kSmallPcie ? 100 * kPcieLine : kPcieRingBytes;
    PcieEnds ends = pcieEnds(ring, device(), device(), LinkEvents{}, std::move(events));
    from_ = std::move(ends.from);
    to_ = std::move(ends.to);
  }

  uint8_t* place(const FrameHeader& header) {
    if (header.offset + header.length > memory_.size()) return nullptr;
    return memory_.data() + header.offset;
  }

  void post(uint32_t number, const std::vector<uint8_t>& payload, uint64_t offset) {
    FrameHeader header;
    header.kind = FrameKind::kChunk;
    header.chunk = number;
    header.offset = offset;
    header.length = static_cast<uint32_t>(payload.size());
    from_->post(header, payload.data());
  }

  // Until so many frames have arrived.
  void carry(size_t frames) {
    for (int64_t end = nowNanos() + 5'000'000'000; arrived_.size() < frames;) {
      ASSERT_LT(nowNanos(), end);
      for (Link* link : {from_.get(), to_.get()}) {
        Status status = link->poll();
        ASSERT_TRUE(status.ok() || status.code() == Code::kInProgress) << status.text();
      }
    }
  }

  std::vector<uint8_t> memory_ = std::vector<uint8_t>(1 << 20);
  std::vector<uint32_t> arrived_;
  std::unique_ptr<Link> from_, to_;
};

std::vector<uint8_t> pattern(size_t bytes, uint8_t seed) {
  std::vector<uint8_t> data(bytes);
  for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<uint8_t>(seed + i * 7 + i / 251);
  return data;
}

TEST_P(LinkSuite, FramesOfAllSizesArriveInOrderAtTheirPlaces) {
  std::vector<std::vector<uint8_t>> all;
  std::vector<uint32_t> numbers;
  size_t at = 0;
  for (size_t bytes : {0, 1, 64, 65'535, 65'536, 200'000, 3, 0, 300'000, 8192, 262'144}) {
    all.push_back(pattern(bytes, static_cast<uint8_t>(bytes)));
  }
  for (uint32_t i = 0; i < all.size(); ++i) {
    post(i, all[i], at);
    at += all[i].size();
    numbers.push_back(i);
  }
  EXPECT_FALSE(from_->flushed());
  carry(all.size());
  EXPECT_EQ(arrived_, numbers);
  at = 0;
  for (const auto& payload : all) {
    bool same =
        std::equal(payload.begin(), payload.end(), memory_.begin() + static_cast<ptrdiff_t>(at));
    EXPECT_TRUE(same) << payload.size();
    at += payload.size();
  }
  for (int64_t end = nowNanos() + 2'000'000'000; !from_->flushed() && nowNanos() < end;) {
    (void)from_->poll();
  }
  EXPECT_TRUE(from_->flushed());
}

TEST_P(LinkSuite, WhatHasNoPlaceIsReadAndDropped) {
  std::vector<uint8_t> none = pattern(500'000, 1), some = pattern(100'000, 2);
  post(1, none, memory_.size());
  post(2, some, 10);
  carry(2);
  EXPECT_EQ(memcmp(memory_.data() + 10, some.data(), some.size()), 0);
  EXPECT_EQ(memory_[9], 0);
}

// Looks at memory that a copy is being written into: the test must meet it half done, so no order
// of theirs is asked for and ThreadSanitizer is not to ask for one.
__attribute__((no_sanitize("thread"))) bool begun(const volatile uint8_t& byte) {
  return byte != 0;
}

TEST_P(LinkSuite, MemoryThatIsTakenBackIsLeftAloneOnBothSides) {
  std::vector<uint8_t> first = pattern(900'000, 1), second = pattern(50'000, 2);
  const std::vector<uint8_t> expected = second;
  post(1, first, 0);
  post(2, second, 900'000);
  while (!begun(memory_[1000])) {
    (void)from_->poll();
    (void)to_->poll();
  }
  to_->keepOff(memory_.data(), 900'000);
  from_->keepOff(first.data(), first.size());
  from_->keepOff(second.data(), second.size());
  std::fill(memory_.begin(), memory_.begin() + 900'000, 0xee);
  std::fill(first.begin(), first.end(), 0xdd);
  std::fill(second.begin(), second.end(), 0xdd);
  carry(2);
  for (size_t i = 0; i < 900'000; ++i) ASSERT_EQ(memory_[i], 0xee) << i;
  EXPECT_EQ(memcmp(memory_.data() + 900'000, expected.data(), expected.size()), 0);
}

TEST_P(LinkSuite, AfterTheEndNothingMovesAndThePeerIsTold) {
  std::vector<uint8_t> data = pattern(100, 1);
  post(1, data, 0);
  from_->quiesce();
  EXPECT_EQ(from_->fd(), -1);
  EXPECT_TRUE(from_->flushed());
  EXPECT_EQ(from_->poll().code(), Code::kRemote);
  Status status = Status::inProgress();
  for (int64_t end = nowNanos() + 2'000'000'000;
       status.code() == Code::kInProgress && nowNanos() < end;) {
    status = to_->poll();
  }
  EXPECT_EQ(status.code(), Code::kRemote);
  EXPECT_NE(std::string(status.text()).find("link to"), std::string::npos);
  EXPECT_TRUE(arrived_.empty());
}

TEST_P(LinkSuite, WhoSleepsIsWokenThroughTheDescriptor) {
  {
    LastLook look;
    EXPECT_EQ(to_->poll().code(), Code::kInProgress);
  }
  pollfd bell{to_->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&bell, 1, 20), 0);
  std::vector<uint8_t> data = pattern(3000, 1);
  post(1, data, 0);
  for (int64_t end = nowNanos() + 2'000'000'000; !from_->flushed() && nowNanos() < end;) {
    (void)from_->poll();
  }
  EXPECT_EQ(::poll(&bell, 1, 2000), 1);
  carry(1);
  LastLook look;
  EXPECT_EQ(to_->poll().code(), Code::kInProgress);
  EXPECT_EQ(::poll(&bell, 1, 20), 0);
}

// The process behind the link reads nothing; its kernel answers all the same.
TEST_P(LinkSuite, AnIdleProcessOwesNothingAsLongAsItsHostAnswers) {
  const uint64_t before = from_->pulse().delivered;
  std::vector<uint8_t> data = pattern(5'000, 1);
  post(1, data, 0);
  for (int64_t end = nowNanos() + 2'000'000'000; !from_->flushed() && nowNanos() < end;) {
    (void)from_->poll();
  }
  usleep(100'000);
  LinkPulse pulse = from_->pulse();
  EXPECT_FALSE(pulse.owed);
  if (GetParam() != Over::kTcp) {
    EXPECT_EQ(pulse.heardNanos, -1);
    return;
  }
  EXPECT_EQ(pulse.delivered - before, sizeof(FrameHeader) + data.size());
  EXPECT_GE(pulse.heardNanos, 0);
  EXPECT_LT(pulse.heardNanos, 2'000'000'000);
  EXPECT_TRUE(from_->delivered());
}

// The receiver reads nothing at first, and no kernel holds so much.
TEST_P(LinkSuite, WhatHasNotLeftThisMachineIsNotDelivered) {
  constexpr uint32_t kFrames = 64;
  std::vector<uint8_t> data = pattern(memory_.size(), 1);
  for (uint32_t i = 0; i < kFrames; ++i) post(i, data, 0);
  while (from_->poll().ok()) {
  }
  EXPECT_FALSE(from_->flushed());
  EXPECT_FALSE(from_->delivered());
  carry(kFrames);
  for (int64_t end = nowNanos() + 2'000'000'000; !from_->delivered() && nowNanos() < end;) {
    usleep(1000);
    (void)from_->poll();
  }
  EXPECT_TRUE(from_->delivered());
}

std::string overName(const testing::TestParamInfo<Over>& over) {
  constexpr const char* kNames[] = {"Tcp", "Local", "Pcie", "SmallPcie", "DevicePcie"};
  return kNames[static_cast<int>(over.param)];
}

INSTANTIATE_TEST_SUITE_P(Over, LinkSuite,
                         testing::Values(Over::kTcp, Over::kLocal, Over::kPcie, Over::kSmallPcie,
                                         Over::kDevicePcie),
                         overName);

}  // namespace
}  // namespace flexlink
