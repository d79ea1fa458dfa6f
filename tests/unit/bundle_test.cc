// SPDX-License-Identifier: Apache-2.0
// Two bundles whose links run through relays that the test can slow down, stop, let go on, or cut.
#include "link/bundle.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <numeric>
#include <random>
#include <thread>

#include "base/clock.h"
#include "base/socket.h"
#include "device/host/exchange.h"
#include "engine/waiter.h"
#include "link/tcp/tcp_link.h"
#include "support/sanitized.h"

namespace flexlink {
namespace {

// One direction of a connection: what has been read and not yet been written on.
struct Flow {
  int from;
  int to;
  std::vector<uint8_t> held;
  size_t passed = 0;

  void pump(size_t most) {
    uint8_t part[65536];
    if (held.size() < sizeof part) {
      ssize_t got = read(from, part, std::min(most, sizeof part));
      if (got > 0) held.insert(held.end(), part, part + got);
    }
    ssize_t sent = send(to, held.data(), std::min(most, held.size()), MSG_NOSIGNAL);
    if (sent <= 0) return;
    held.erase(held.begin(), held.begin() + sent);
    passed += static_cast<size_t>(sent);
  }
};

class Relay {
 public:
  Relay() { renew(); }
  void renew() {
    cut();
    for (int side = 0; side < 2; ++side) {
      EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends_[side]), 0);
    }
    flows_[0] = {ends_[0][1], ends_[1][1], {}, 0};
    flows_[1] = {ends_[1][1], ends_[0][1], {}, 0};
  }
  ~Relay() { cut(); }
  Fd end(int side) { return Fd(ends_[side][0]); }
  void pump() {
    if (stopped || ends_[0][1] < 0) return;
    flows_[0].pump(std::min(bytesPerPump, mayPass - std::min(mayPass, flows_[0].passed)));
    flows_[1].pump(bytesPerPump);
  }
  void cut() {
    for (auto& end : ends_) {
      if (end[1] >= 0) close(end[1]);
      end[1] = -1;
    }
  }
  size_t passedOn() const { return flows_[0].passed; }  // from side 0
  size_t passed() const { return flows_[0].passed + flows_[1].passed; }

  bool stopped = false;
  size_t bytesPerPump = 65536;
  size_t mayPass = SIZE_MAX;  // bytes from side 0 in all: stops in the midst of a frame

 private:
  int ends_[2][2] = {{-1, -1}, {-1, -1}};
  Flow flows_[2];
};

class Pair {
 public:
  explicit Pair(uint32_t links) : relays(links), sides{Bundle("b"), Bundle("a")} {
    for (uint32_t i = 0; i < links; ++i) connect({i, 0});
  }

  void connect(LinkPlace place) {
    for (int side = 0; side < 2; ++side) {
      sides[side].add(
          place,
          [&](LinkEvents events) {
            return std::make_unique<TcpLink>("relay" + std::to_string(place.number),
                                             relays[place.number].end(side), std::move(events));
          },
          LinkModel(1e9, 50'000));
    }
  }

  // The same link, over a connection of its own.
  void connectAgain(LinkPlace place) {
    relays[place.number].renew();
    connect(place);
  }

  // False: the time was over.
  bool drive(const std::function<bool()>& done, int64_t nanos = 10'000'000'000) {
    for (int64_t end = nowNanos() + nanos; nowNanos() < end;) {
      for (Bundle& side : sides) {
        Status status = side.poll();
        if (status.ok() || status.code() == Code::kInProgress) continue;
        failure = status;
        return false;
      }
      for (Relay& relay : relays) relay.pump();
      for (Bundle& side : sides) side.check(nowNanos());
      if (done()) return true;
    }
    return false;
  }

  std::vector<Relay> relays;
  Bundle sides[2];
  Status failure;
};

Message message(uint64_t seq, uint32_t tag = 0) { return {{7, seq, tag, 0, 1}, 0, 0}; }

std::vector<uint8_t> noise(size_t bytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> data(bytes);
  for (uint8_t& x : data) x = static_cast<uint8_t>(random());
  return data;
}

struct Transfer {
  std::vector<uint8_t> from;
  std::vector<uint8_t> to;
};

// Sends and receives are posted in orders of their own; every byte must arrive.
void exchange(
    Pair* pair, const std::vector<size_t>& sizes, uint32_t seed,
    const std::function<void()>& between = [] {}) {
  std::vector<Transfer> all(sizes.size());
  Pending pending{0};
  std::vector<size_t> sends(sizes.size()), receives(sizes.size());
  std::iota(sends.begin(), sends.end(), 0u);
  std::iota(receives.begin(), receives.end(), 0u);
  std::mt19937 random(seed);
  std::shuffle(sends.begin(), sends.end(), random);
  std::shuffle(receives.begin(), receives.end(), random);
  for (size_t i = 0; i < sizes.size(); ++i) {
    all[i] = {noise(sizes[i], seed + static_cast<uint32_t>(i)), std::vector<uint8_t>(sizes[i])};
  }
  for (size_t i = 0; i < sizes.size(); ++i) {
    Transfer& out = all[sends[i]];
    pair->sides[0].send(message(seed, static_cast<uint32_t>(sends[i])), out.from.data(),
                        out.from.size(), &pending);
    if (i % 3 == 0) (void)pair->drive([] { return true; });
    Transfer& in = all[receives[i]];
    pair->sides[1].receive(message(seed, static_cast<uint32_t>(receives[i])), in.to.data(),
                           in.to.size(), &pending);
  }
  between();
  ASSERT_TRUE(pair->drive([&] { return pending.load(std::memory_order_acquire) == 0; }))
      << pair->failure.text();
  for (size_t i = 0; i < sizes.size(); ++i) EXPECT_EQ(all[i].from, all[i].to) << "message " << i;
}

TEST(Bundle, MessagesOfAllSizesArriveInAnyOrder) {
  for (uint32_t links : {1u, 2u, 4u}) {
    Pair pair(links);
    exchange(&pair, {0, 1, 64, 8192, 8193, 100'000, 1 << 20, 3'000'001, 5, 0, 70'000}, 1);
    exchange(&pair, {8192, 1 << 22, 8193}, 2);
  }
}

TEST(Bundle, EveryLinkCarriesWhatItCan) {
  Pair pair(2);
  pair.relays[0].bytesPerPump = 32768;
  pair.relays[1].bytesPerPump = 8192;
  exchange(&pair, {1 << 20}, 1);  // they get to know each other
  size_t before[2] = {pair.relays[0].passed(), pair.relays[1].passed()};
  exchange(&pair, {8 << 20}, 2);
  double fast = static_cast<double>(pair.relays[0].passed() - before[0]);
  double slow = static_cast<double>(pair.relays[1].passed() - before[1]);
  EXPECT_GT(fast / slow, 2.5);
  EXPECT_LT(fast / slow, 6.0);
}

TEST(Bundle, ACutLinkLosesNothing) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    Pair pair(3);
    size_t cutAfter = (seed * 397) << 9;
    exchange(&pair, {100, 2 << 20, 8000, 900'000}, seed, [&] {
      (void)pair.drive([&] { return pair.relays[1].passed() >= cutAfter; }, 100'000'000);
      pair.relays[1].cut();
    });
    EXPECT_TRUE(pair.failure.ok());
  }
}

TEST(Bundle, ASilentLinkIsLeftWhileThePeerAnswersElsewhere) {
  Pair pair(2);
  exchange(&pair, {1 << 20}, 1);
  pair.relays[0].stopped = true;
  int64_t began = nowNanos();
  exchange(&pair, {4 << 20, 100, 200'000}, 2);
  EXPECT_LT(static_cast<double>(nowNanos() - began), 1e9 * ranktest::kSlowdown);
  EXPECT_FALSE(pair.sides[0].state()[0].alive);
  // Either side may find it out first; the other is told.
  std::string why = pair.sides[0].state()[0].whyNot + pair.sides[1].state()[0].whyNot;
  EXPECT_NE(why.find("silent"), std::string::npos) << why;
  EXPECT_TRUE(pair.sides[0].state()[1].alive);
}

// A process that computes answers on no link: none is to blame, whichever it serves first then.
TEST(Bundle, APeerThatIsAwayLosesNoLink) {
  Pair pair(2);
  exchange(&pair, {1 << 20}, 1);
  std::vector<uint8_t> from = noise(2 << 20, 5), to(from.size());
  Pending pending{0};
  pair.sides[1].receive(message(9), to.data(), to.size(), &pending);
  ASSERT_TRUE(pair.drive([&] { return pair.sides[1].flushed(); }));
  pair.sides[0].send(message(9), from.data(), from.size(), &pending);
  for (int64_t end = nowNanos() + 700'000'000; nowNanos() < end;) {
    (void)pair.sides[0].poll();
    pair.sides[0].check(nowNanos());
    for (Relay& relay : pair.relays) relay.pump();
  }
  EXPECT_NE(pending.load(), 0u);
  pair.relays[0].stopped = true;  // its answer comes a little later than the other's
  EXPECT_FALSE(pair.drive([&] { return pending.load() == 0; }, 50'000'000));
  pair.relays[0].stopped = false;
  ASSERT_TRUE(pair.drive([&] { return pending.load() == 0; }));
  EXPECT_EQ(from, to);
  for (Bundle& side : pair.sides) {
    for (const LinkState& link : side.state()) EXPECT_TRUE(link.alive) << link.whyNot;
  }
}

TEST(Bundle, ALinkThatIsMadeAgainCarriesOn) {
  Pair pair(2);
  exchange(&pair, {1 << 20}, 1);
  for (uint32_t round = 1; round < 4; ++round) {
    pair.relays[1].cut();
    exchange(&pair, {2 << 20, 100}, 10 + round);
    for (Bundle& side : pair.sides) EXPECT_FALSE(side.state()[1].alive);
    uint64_t before = pair.sides[0].state()[1].bytesOut;
    pair.connectAgain({1, round});
    exchange(&pair, {4 << 20, 8000}, 20 + round);
    for (Bundle& side : pair.sides) {
      LinkState link = side.state()[1];
      EXPECT_TRUE(link.alive);
      EXPECT_EQ(link.name, "relay1");
      EXPECT_EQ(link.whyNot, "");
    }
    EXPECT_GT(pair.sides[0].state()[1].bytesOut, before + (1 << 20));
  }
}

// One side has lost the connection and the other does not know, or even has no other link.
TEST(Bundle, ALinkThatIsMadeAgainTakesTheUnfinishedAlong) {
  for (uint32_t links : {1u, 2u}) {
    Pair pair(links);
    std::vector<uint8_t> from = noise(2 << 20, 5), to(from.size());
    Pending pending{0};
    pair.sides[1].receive(message(9), to.data(), to.size(), &pending);
    pair.sides[0].send(message(9), from.data(), from.size(), &pending);
    (void)pair.drive([&] { return pair.relays[0].passed() > 300'000; });
    pair.connectAgain({0, 1});
    ASSERT_TRUE(pair.drive([&] { return pending.load() == 0; })) << pair.failure.text();
    EXPECT_EQ(from, to);
  }
}

TEST(Bundle, WhatOneSideLeavesTheOtherLeavesToo) {
  Pair pair(2);
  std::vector<uint32_t> left[2];
  for (int side = 0; side < 2; ++side) {
    pair.sides[side].setOwner({[&, side](uint32_t number) { left[side].push_back(number); }, {}});
  }
  pair.relays[1].stopped = true;  // no end of the connection can be seen
  pair.sides[0].drop(1, makeStatus(Code::kRemote, "eth1 is down"));
  EXPECT_EQ(pair.sides[0].state()[1].whyNot, "eth1 is down");
  ASSERT_TRUE(pair.drive([&] { return !pair.sides[1].state()[1].alive; }, 1'000'000'000));
  EXPECT_NE(pair.sides[1].state()[1].whyNot.find("peer has left"), std::string::npos);
  for (auto& numbers : left) EXPECT_EQ(numbers, std::vector<uint32_t>{1});
  pair.sides[0].drop(0, makeStatus(Code::kRemote, "eth0 is down"));  // the last one stays
  EXPECT_TRUE(pair.sides[0].state()[0].alive);
  exchange(&pair, {100, 500'000}, 3);
}

// Nobody waits any more on the side that has something to send again.
TEST(Bundle, ItsOwnerBringsHomeWhatNobodyWaitsFor) {
  Pair pair(2);
  exchange(&pair, {1 << 20}, 1);
  int asked = 0;
  pair.sides[0].setOwner({[](uint32_t) {}, [&] { ++asked; }});
  std::vector<uint8_t> from = noise(100, 5), to(from.size());
  Pending pending{0};
  pair.relays[0].stopped = true;
  pair.sides[1].receive(message(9), to.data(), to.size(), &pending);
  for (int i = 0; i < 2; ++i)
    pair.sides[0].send(message(8 + i), from.data(), from.size(), &pending);
  EXPECT_EQ(asked, 1);
  pair.relays[0].stopped = true;
  pair.relays[1].stopped = false;
  bool owes = true;
  for (int64_t end = nowNanos() + 2'000'000'000; owes && nowNanos() < end;) {
    owes = pair.sides[0].look(nowNanos());
    (void)pair.sides[1].poll();
    for (Relay& relay : pair.relays) relay.pump();
  }
  EXPECT_FALSE(owes);
  EXPECT_EQ(pending.load(), 0u);
  EXPECT_EQ(from, to);
}

// A link that is never idle leaves its model no latency to see; what people are shown has the round
// trip of the kernels for its least.
TEST(Bundle, ALatencyIsNeverNothing) {
  Result<Fd> door = listenTcp(SocketAddress::loopback(AF_INET));
  Result<Fd> dialed = connectTcpStart(localAddress(door.value().get()).value());
  Result<Fd> accepted = acceptConnection(door.value().get());
  for (; !accepted.ok(); accepted = acceptConnection(door.value().get())) sched_yield();
  Bundle bundle("b");
  bundle.add(
      {0, 0},
      [&](LinkEvents events) {
        return std::make_unique<TcpLink>("lo", std::move(dialed.value()), std::move(events));
      },
      LinkModel(1e9, 0));
  EXPECT_GE(bundle.state()[0].latencyNanos, 1'000);
  bundle.check(nowNanos());
  EXPECT_GE(bundle.state()[0].latencyNanos, 1'000);
}

// What a stopped link still holds must not land in memory that belongs to the user again.
TEST(Bundle, LateBytesLandNowhere) {
  Pair pair(2);
  exchange(&pair, {1 << 20}, 1);
  std::vector<uint8_t> from = noise(2 << 20, 5), to(from.size());
  Pending pending{0};
  pair.sides[0].send(message(9), from.data(), from.size(), &pending);
  pair.sides[1].receive(message(9), to.data(), to.size(), &pending);
  pair.relays[0].mayPass = pair.relays[0].passedOn() + 300'001;
  ASSERT_TRUE(pair.drive([&] { return pending.load(std::memory_order_acquire) == 0; }));
  EXPECT_EQ(from, to);
  std::memset(to.data(), 0xee, to.size());
  pair.relays[0].mayPass = SIZE_MAX;
  (void)pair.drive([] { return false; }, 100'000'000);
  EXPECT_EQ(to, std::vector<uint8_t>(to.size(), 0xee));
}

TEST(Bundle, WithoutALinkItSaysWhoIsLost) {
  Pair pair(2);
  pair.relays[0].cut();
  pair.relays[1].cut();
  EXPECT_FALSE(pair.drive([] { return false; }, 1'000'000'000));
  EXPECT_EQ(pair.failure.code(), Code::kRemote);
  EXPECT_NE(std::string(pair.failure.text()).find("no link to b is left"), std::string::npos);
}

TEST(Bundle, ForgottenMemoryIsLeftAlone) {
  Pair pair(1);
  std::vector<uint8_t> from = noise(1 << 20, 3), to(from.size());
  Pending pending{0};
  pair.sides[0].send(message(1), from.data(), from.size(), &pending);
  pair.sides[1].receive(message(1), to.data(), to.size(), &pending);
  pair.relays[0].mayPass = 300'001;
  (void)pair.drive([&] { return pair.relays[0].passedOn() == 300'001; });
  (void)pair.drive([] { return false; }, 10'000'000);
  pair.sides[0].forget(7, 0);
  pair.sides[1].forget(7, 1);
  std::vector<uint8_t> now = to;
  from.assign(from.size(), 0);
  from.shrink_to_fit();
  pair.relays[0].mayPass = SIZE_MAX;
  (void)pair.drive([] { return false; }, 50'000'000);
  EXPECT_EQ(to, now);
  // The link goes on.
  exchange(&pair, {100, 500'000}, 2);
}

TEST(Bundle, GarbageEndsTheLink) {
  Relay relay;
  Bundle bundle("b");
  Fd mine = relay.end(0);
  bundle.add(
      {0, 0},
      [&](LinkEvents events) {
        return std::make_unique<TcpLink>("garbage", relay.end(1), std::move(events));
      },
      LinkModel(1e9, 50'000));
  std::string text(200, 'x');
  ASSERT_EQ(write(mine.get(), text.data(), text.size()), 200);
  Status status = Status::inProgress();
  for (int i = 0; i < 100 && status.code() == Code::kInProgress; ++i) {
    relay.pump();
    status = bundle.poll();
  }
  EXPECT_EQ(status.code(), Code::kRemote);
  EXPECT_NE(std::string(status.text()).find("not FlexLink's wire"), std::string::npos);
}

// A waiting thread sleeps until bytes come, and wakes up at once.
TEST(Bundle, WhoSleepsIsWokenByWhatArrives) {
  Pair pair(2);
  std::vector<int64_t> late;
  for (uint64_t seq = 0; seq < 20; ++seq) {
    uint64_t word = seq, got = 0;
    Pending out{0}, in{0};
    std::atomic<int64_t> sentAt{0};
    pair.sides[1].receive(message(seq), &got, sizeof got, &in);
    std::thread sender([&] {
      usleep(20'000);
      sentAt = nowNanos();
      pair.sides[0].send(message(seq), &word, sizeof word, &out);
      (void)pair.sides[0].poll();
      for (Relay& relay : pair.relays) relay.pump();
    });
    Waiter waiter(WaitPolicy{4, 1'000, 2'000});
    while (in.load(std::memory_order_acquire) != 0) {
      if (pair.sides[1].poll().ok()) continue;
      waiter.idle(myDoorbell(), [&] {
        Status status = pair.sides[1].poll();
        return !status.ok() && in.load(std::memory_order_acquire) != 0;
      });
    }
    late.push_back(nowNanos() - sentAt);
    sender.join();
    EXPECT_EQ(got, seq);
  }
  std::sort(late.begin(), late.end());
  EXPECT_LT(late[late.size() / 2], 20'000'000);  // a sleep that nobody ends takes 100 ms
}

// The bytes are read by another thread than the one that sleeps for them.
TEST(Bundle, WhoSleepsIsWokenByWhomeverReadsForHim) {
  Pair pair(1);
  uint64_t word = 7, got = 0;
  Pending out{0}, in{0};
  pair.sides[1].receive(message(1), &got, sizeof got, &in);
  std::atomic<bool> asleep{false};
  std::atomic<int64_t> wokeAt{0};
  std::thread sleeper([&] {
    myDoorbell().sleep(10'000'000'000, [&] {
      asleep = true;
      return in.load(std::memory_order_acquire) != 0;
    });
    wokeAt = nowNanos();
  });
  while (!asleep) sched_yield();
  usleep(5'000);
  int64_t began = nowNanos();
  pair.sides[0].send(message(1), &word, sizeof word, &out);
  EXPECT_TRUE(pair.drive([&] { return in.load() == 0; }));
  sleeper.join();
  EXPECT_LT(wokeAt - began, 1'000'000'000);
  EXPECT_EQ(got, 7u);
}

}  // namespace
}  // namespace flexlink
