// SPDX-License-Identifier: Apache-2.0
// What is particular to a link through shared memory: any interleaving of its two ends, threads,
// processes, copies that a device does in its own time, and a peer that dies.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <latch>
#include <random>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/reactor.h"
#include "device/host/exchange.h"
#include "device/host/region.h"
#include "engine/fd_bell.h"
#include "link/bundle.h"
#include "link/tcp/tcp_link.h"
#include "support/pcie_ends.h"
#include "support/sanitized.h"
#include "support/slow_device.h"

namespace flexlink {
namespace {

uint8_t byteAt(uint32_t frame, size_t i) {
  return static_cast<uint8_t>(frame * 31 + i * 7 + i / 251);
}

// One end: sends numbered frames of known bytes, and checks those of the other end.
struct End {
  std::vector<std::vector<uint8_t>> out;  // payloads, which stay
  std::vector<std::vector<uint8_t>> in;   // by frame; empty: it had no place
  std::vector<uint32_t> arrived;
  std::unique_ptr<PcieLink> link;  // ends before the memory that it uses

  LinkEvents events() {
    return {[this](const FrameHeader& header) -> uint8_t* {
              if (header.tag == 1) return nullptr;
              if (in.size() <= header.chunk) in.resize(header.chunk + 1);
              in[header.chunk].resize(header.length);
              return in[header.chunk].data();
            },
            [this](const FrameHeader& header) {
              if (in.size() <= header.chunk) in.resize(header.chunk + 1);
              arrived.push_back(header.chunk);
            }};
  }

  void post(size_t bytes, bool dropped) {
    const auto number = static_cast<uint32_t>(out.size());
    out.emplace_back(bytes);
    for (size_t i = 0; i < bytes; ++i) out.back()[i] = byteAt(number, i);
    FrameHeader header;
    header.kind = FrameKind::kChunk;
    header.chunk = number;
    header.length = static_cast<uint32_t>(bytes);
    header.tag = dropped ? 1 : 0;
    link->post(header, out.back().data());
  }

  bool pollOk() {
    Status status = link->poll();
    EXPECT_TRUE(status.ok() || status.code() == Code::kInProgress) << status.text();
    return status.ok() || status.code() == Code::kInProgress;
  }

  // All frames are there in their order, each byte right.
  bool hasAll(size_t frames) const {
    if (arrived.size() != frames || in.size() != frames) return false;
    for (uint32_t f = 0; f < frames; ++f) {
      if (arrived[f] != f) return false;
      for (size_t i = 0; i < in[f].size(); ++i) {
        if (in[f][i] != byteAt(f, i)) return false;
      }
    }
    return true;
  }
};

struct Both {
  End ends[2];
  Both(size_t ring, const std::shared_ptr<Device>& a, const std::shared_ptr<Device>& b) {
    PcieEnds made = pcieEnds(ring, a, b, ends[0].events(), ends[1].events());
    ends[0].link = std::move(made.from);
    ends[1].link = std::move(made.to);
  }
};

std::shared_ptr<HostDevice> host() { return std::make_shared<HostDevice>(); }

TEST(PcieLinks, AnyInterleavingBringsExactBytesBothWays) {
  for (unsigned seed = 1; seed <= static_cast<unsigned>(ranktest::inReach(40)); ++seed) {
    std::mt19937 random(seed);
    const size_t rings[] = {kPcieLeastRing, 7 * kPcieLine, 64 * kPcieLine, 1 << 16};
    const size_t ring = rings[random() % 4];
    Both both(ring, host(), host());
    constexpr size_t kFrames = 60;
    auto done = [&] {
      return both.ends[0].arrived.size() == kFrames && both.ends[1].arrived.size() == kFrames;
    };
    for (int64_t end = nowNanos() + 10'000'000'000; !done();) {
      ASSERT_LT(nowNanos(), end) << "seed " << seed;
      End& one = both.ends[random() % 2];
      if (random() % 3 == 0 && one.out.size() < kFrames) {
        const size_t most = 3 * ring;
        one.post(random() % 4 == 0 ? 0 : random() % most, random() % 8 == 0);
      }
      ASSERT_TRUE(one.pollOk());
    }
    for (End& one : both.ends) EXPECT_TRUE(one.hasAll(kFrames)) << "seed " << seed;
  }
}

TEST(PcieLinks, TwoThreadsBringExactBytesBothWays) {
  for (const bool device : {false, true}) {
    auto make = [&] { return device ? std::shared_ptr<Device>(new SlowDevice) : host(); };
    Both both(200 * kPcieLine, make(), make());
    constexpr size_t kFrames = 300;
    auto run = [&](End& one, unsigned seed) {
      std::mt19937 random(seed);
      for (int64_t end = nowNanos() + 60'000'000'000;
           one.arrived.size() < kFrames || one.out.size() < kFrames || !one.link->flushed();) {
        if (nowNanos() > end || !one.pollOk()) return;
        if (one.out.size() < kFrames) one.post(random() % 20'000, random() % 16 == 0);
      }
    };
    std::thread other([&] { run(both.ends[1], 2); });
    run(both.ends[0], 1);
    other.join();
    EXPECT_TRUE(both.ends[0].hasAll(kFrames));
    EXPECT_TRUE(both.ends[1].hasAll(kFrames));
  }
}

TEST(PcieLinks, WhoWaitsForRoomIsWoken) {
  Both both(kPcieLeastRing, host(), host());
  End& from = both.ends[0];
  from.post(10 * kPcieLeastRing, false);
  while (from.link->poll().ok()) {
  }
  {
    LastLook look;
    EXPECT_EQ(from.link->poll().code(), Code::kInProgress);
  }
  pollfd bell{from.link->fd(), POLLIN | POLLOUT, 0};
  EXPECT_EQ(::poll(&bell, 1, 20), 0) << "it must not look ready while it waits";
  EXPECT_TRUE(both.ends[1].link->poll().ok());
  EXPECT_EQ(::poll(&bell, 1, 2000), 1);
}

TEST(PcieLinks, ABundleUsesThemBesideTcp) {
  Bundle sides[2] = {Bundle("b"), Bundle("a")};
  auto segment = PcieSegment::make(*host(), kPcieRingBytes).value();
  for (const bool pcie : {true, false}) {
    auto [one, other] = lifelines();
    Fd* fds[2] = {&one, &other};
    for (int side = 0; side < 2; ++side) {
      sides[side].add(
          [&](LinkEvents events) -> std::unique_ptr<Link> {
            if (!pcie)
              return std::make_unique<TcpLink>("tcp", std::move(*fds[side]), std::move(events));
            return pcieEnd("pcie", host(), segment, side, std::move(*fds[side]), std::move(events));
          },
          LinkModel(1e9, 20'000));
    }
  }
  std::vector<uint8_t> out(40'000'000), in(out.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = byteAt(3, i);
  Pending pending{0};
  const Message message{{1, 1, 1, 0, 1}, 7, out.size()};
  sides[1].receive(message, in.data(), in.size(), &pending);
  sides[0].send(message, out.data(), out.size(), &pending);
  for (int64_t end = nowNanos() + 20'000'000'000; pending != 0;) {
    ASSERT_LT(nowNanos(), end);
    for (Bundle& side : sides) {
      Status status = side.poll();
      ASSERT_TRUE(status.ok() || status.code() == Code::kInProgress) << status.text();
    }
  }
  EXPECT_TRUE(in == out);
  for (const LinkState& link : sides[0].state()) EXPECT_GT(link.bytesOut, 1'000'000u) << link.name;
}

// Where nobody polls the peer: only a nap finds out that a device is through.
TEST(PcieLinks, WhoWaitsForADeviceNaps) {
  auto slow = std::make_shared<SlowDevice>();
  Both both(kPcieRingBytes, slow, host());
  slow->hold(true);
  both.ends[0].post(1000, false);
  EXPECT_TRUE(both.ends[0].link->poll().ok());
  nobodyRings = false;
  EXPECT_EQ(both.ends[0].link->poll().code(), Code::kInProgress);
  EXPECT_TRUE(std::exchange(nobodyRings, false));
  EXPECT_EQ(both.ends[1].link->poll().code(), Code::kOk) << "the header";
  EXPECT_EQ(both.ends[1].link->poll().code(), Code::kInProgress);
  EXPECT_FALSE(nobodyRings) << "the peer will ring";
  slow->hold(false);
}

// Goes on after `after` ms, while the caller is in something that must wait for it.
std::thread release(SlowDevice& device, int after) {
  return std::thread([&device, after] {
    usleep(static_cast<useconds_t>(after) * 1000);
    device.hold(false);
  });
}

TEST(PcieLinks, MemoryIsGivenBackOnlyWhenTheDeviceIsThroughWithIt) {
  auto out = std::make_shared<SlowDevice>(), in = std::make_shared<SlowDevice>();
  Both both(kPcieRingBytes, out, in);
  End &from = both.ends[0], &to = both.ends[1];
  out->hold(true);
  from.post(100'000, false);
  ASSERT_TRUE(from.link->poll().ok());
  std::thread first = release(*out, 30);
  from.link->keepOff(from.out[0].data(), from.out[0].size());
  std::fill(from.out[0].begin(), from.out[0].end(), 0xdd);
  first.join();

  in->hold(true);
  while (to.link->poll().ok()) {
  }
  ASSERT_EQ(to.in.size(), 1u);
  EXPECT_EQ(to.in[0], std::vector<uint8_t>(100'000)) << "its copy is held";
  std::thread second = release(*in, 30);
  to.link->keepOff(to.in[0].data() + 50'000, 1);
  EXPECT_EQ(to.in[0][99'999], byteAt(0, 99'999)) << "sent before its memory was given back";
  std::fill(to.in[0].begin(), to.in[0].end(), 0xee);
  second.join();
  while (to.arrived.empty()) ASSERT_TRUE(to.pollOk());
  EXPECT_EQ(to.in[0], std::vector<uint8_t>(100'000, 0xee));
}

TEST(PcieLinks, AfterTheEndNoCopyOfTheDeviceLands) {
  auto in = std::make_shared<SlowDevice>();
  Both both(kPcieRingBytes, host(), in);
  End &from = both.ends[0], &to = both.ends[1];
  in->hold(true);
  from.post(100'000, false);
  while (from.link->poll().ok()) {
  }
  while (to.link->poll().ok()) {
  }
  std::thread later = release(*in, 30);
  to.link->quiesce();
  std::fill(to.in[0].begin(), to.in[0].end(), 0xee);
  later.join();
  usleep(5000);
  EXPECT_EQ(to.in[0], std::vector<uint8_t>(100'000, 0xee));
  EXPECT_EQ(in->memoryOf(to.in[0].data()).value(), MemoryKind::kHost);
}

TEST(PcieLinks, WhatAPeerWritesIsBoundedBeforeItIsUsed) {
  using Spoil = std::function<void(PcieHead&)>;
  const Spoil faults[] = {
      [](PcieHead& head) { head.directions[0].posted = kPcieHeaders + 1; },
      [](PcieHead& head) { head.directions[0].full = kPcieRingBytes + 1; },
      [](PcieHead& head) { head.directions[1].empty = 1; },
      [](PcieHead& head) {
        head.headers[0][0].magic = 0;
        head.directions[0].posted = 1;
      },
  };
  for (const Spoil& spoil : faults) {
    auto device = host();
    PcieSegment segment = PcieSegment::make(*device, kPcieRingBytes).value();
    auto [one, other] = lifelines();
    End end;
    end.link = pcieEnd("to", device, segment, 1, std::move(other), end.events());
    end.post(100, false);
    spoil(segment.head());
    Status status = end.link->poll();
    EXPECT_EQ(status.code(), Code::kRemote) << status.text();
    EXPECT_TRUE(end.arrived.empty());
  }
  PcieSegment good = PcieSegment::make(*host(), kPcieRingBytes).value();
  std::shared_ptr<void> none;
  EXPECT_TRUE(PcieSegment::view(none, good.base(), good.bytes()).ok());
  EXPECT_FALSE(PcieSegment::view(none, good.base(), good.bytes() - 1).ok());
  EXPECT_FALSE(PcieSegment::view(none, good.base(), 100).ok());
  good.head().ringBytes = 1;
  EXPECT_FALSE(PcieSegment::view(none, good.base(), good.bytes()).ok());
  EXPECT_FALSE(PcieSegment::make(*host(), 100).ok());
}

// The other end lives in a process of its own; `life` is what it does there.
class Child {
 public:
  Child(size_t ring, const std::function<int(PcieSegment, Fd)>& life) {
    segment_ = PcieSegment::make(*host(), ring).value();
    RegionTable& regions = RegionTable::instance();
    auto [file, bytes] = std::move(regions.share(regions.find(segment_.base(), 1).id).value());
    auto [mine, theirs] = lifelines();
    lifeline_ = std::move(mine);
    EXPECT_TRUE(myProcessCard().ok());
    forkAtRest();
    if (pid_ != 0) return;
    // What a fork does not inherit: nobody sleeps at this one.
    mmap(&myDoorbell(), sizeof(Doorbell), PROT_READ | PROT_WRITE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    lifeline_ = Fd();
    auto mapped = ForeignRegion::map(file.get(), bytes).value();
    auto view = PcieSegment::view(mapped, mapped->base(), mapped->bytes());
    _exit(view.ok() ? life(view.value(), std::move(theirs)) : 9);
  }
  ~Child() {
    kill(pid_, SIGKILL);
    (void)waitpid(pid_, nullptr, 0);
  }
  std::unique_ptr<PcieLink> end(LinkEvents events) {
    return pcieEnd("to child", host(), segment_, 0, std::move(lifeline_), std::move(events));
  }
  pid_t pid() const { return pid_; }
  int wait() const {
    int status = -1;
    (void)waitpid(pid_, &status, 0);
    return status;
  }

 private:
  // While the control thread holds no lock: AddressSanitizer's allocator is not made for fork(),
  // and a child that inherits its lock taken waits for ever.
  void forkAtRest() {
    std::latch held(1), free(1);
    Reactor* reactor = Reactor::instance().value();
    reactor->post([&] {
      held.count_down();
      free.wait();
    });
    held.wait();
    pid_ = fork();
    if (pid_ == 0) return;
    free.count_down();
    reactor->postAndWait([] {});  // it uses nothing of this function any more
  }

  PcieSegment segment_;
  Fd lifeline_;
  pid_t pid_ = -1;
};

// Posts `frames`, and polls until as many have come and all of its own are out.
bool exchangeFrames(End& end, size_t frames, unsigned seed) {
  std::mt19937 random(seed);
  for (int64_t until = nowNanos() + 30'000'000'000;
       end.arrived.size() < frames || end.out.size() < frames || !end.link->flushed();) {
    Status status = end.link->poll();
    if ((!status.ok() && status.code() != Code::kInProgress) || nowNanos() > until) return false;
    if (end.out.size() < frames) end.post(random() % 50'000, false);
  }
  return end.hasAll(frames);
}

TEST(PcieLinks, TwoProcessesBringExactBytesBothWays) {
  constexpr size_t kFrames = 200;
  Child child(64 << 10, [](const PcieSegment& segment, Fd lifeline) {
    End end;
    end.link = pcieEnd("to parent", host(), segment, 1, std::move(lifeline), end.events());
    return exchangeFrames(end, kFrames, 2) ? 0 : 1;
  });
  End end;
  end.link = child.end(end.events());
  EXPECT_TRUE(exchangeFrames(end, kFrames, 1));
  EXPECT_EQ(child.wait(), 0);
}

// The child dies in the midst of a frame that is larger than the buffer.
TEST(PcieLinks, APeerThatIsKilledIsNoticedAndNothingLandsAfterwards) {
  Child child(64 << 10, [](const PcieSegment& segment, Fd lifeline) {
    End end;
    end.link = pcieEnd("to parent", host(), segment, 1, std::move(lifeline), end.events());
    end.post(1000, false);
    end.post(1 << 20, false);
    for (;;) (void)end.link->poll();
    return 0;
  });
  End end;
  end.link = child.end(end.events());
  while (end.in.size() < 2 || end.in[1][70'000] != byteAt(1, 70'000)) ASSERT_TRUE(end.pollOk());
  kill(child.pid(), SIGKILL);
  Status status = Status::inProgress();
  for (int64_t until = nowNanos() + 5'000'000'000;
       (status.ok() || status.code() == Code::kInProgress) && nowNanos() < until;) {
    status = end.link->poll();
  }
  EXPECT_EQ(status.code(), Code::kRemote);
  EXPECT_EQ(end.arrived, std::vector<uint32_t>{0});
  end.link->quiesce();
  std::fill(end.in[1].begin(), end.in[1].end(), 0xee);
  EXPECT_EQ(end.link->poll().code(), Code::kRemote);
  EXPECT_EQ(end.in[1], std::vector<uint8_t>(1 << 20, 0xee));
}

// What a peer had sent before it ended is still there; what it had not is not missed.
TEST(PcieLinks, TheLastWordsOfAPeerAreReadBeforeItsEnd) {
  Child child(1 << 20, [](const PcieSegment& segment, Fd lifeline) {
    End end;
    end.link = pcieEnd("to parent", host(), segment, 1, std::move(lifeline), end.events());
    for (int i = 0; i < 5; ++i) end.post(10'000, false);
    while (!end.link->delivered()) (void)end.link->poll();
    return 0;  // without quiesce(), as a process that exits
  });
  End end;
  end.link = child.end(end.events());
  EXPECT_EQ(child.wait(), 0);
  Status status;
  while (status.ok() || status.code() == Code::kInProgress) status = end.link->poll();
  EXPECT_EQ(status.code(), Code::kRemote);
  EXPECT_TRUE(end.hasAll(5));
}

TEST(PcieLinks, AStoppedPeerHoldsNobodyUpAtTheEnd) {
  Child child(64 << 10, [](const PcieSegment& segment, Fd lifeline) {
    End end;
    end.link = pcieEnd("to parent", host(), segment, 1, std::move(lifeline), end.events());
    end.post(1 << 20, false);
    for (;;) (void)end.link->poll();
    return 0;
  });
  End end;
  end.link = child.end(end.events());
  while (end.in.empty() || end.in[0][70'000] != byteAt(0, 70'000)) ASSERT_TRUE(end.pollOk());
  kill(child.pid(), SIGSTOP);
  end.post(1 << 20, false);
  while (end.link->poll().ok()) {
  }
  const int64_t begun = nowNanos();
  end.link->keepOff(end.in[0].data(), end.in[0].size());
  end.link->keepOff(end.out[0].data(), end.out[0].size());
  end.link->quiesce();
  EXPECT_LT(nowNanos() - begun, 500'000'000 * ranktest::kSlowdown);
  std::fill(end.in[0].begin(), end.in[0].end(), 0xee);
  kill(child.pid(), SIGCONT);
  usleep(50'000);
  EXPECT_EQ(end.in[0], std::vector<uint8_t>(1 << 20, 0xee));
}

}  // namespace
}  // namespace flexlink
