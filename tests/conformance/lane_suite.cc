// SPDX-License-Identifier: Apache-2.0
#include "conformance/lane_suite.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <random>
#include <string>
#include <thread>

#include "base/clock.h"
#include "support/sanitized.h"
#include "support/slow_device.h"

namespace flexlink {
namespace {

using Ints = std::vector<int32_t>;

constexpr int64_t kStuckNanos = 20'000'000'000;

// Elements; more than any lane hands over at once.
constexpr unsigned kLong = ranktest::kSanitized ? 50'021 : 150'001;

// Element i of rank's contribution: small, so that sums are exact, and unlike at every place.
int32_t value(int rank, size_t i) {
  return static_cast<int32_t>((i * 7 + i / 251) % 1000) + rank * 1000;
}

struct Buffers {
  Ints send;
  Ints recv;
};

size_t blocksOf(Collective kind, bool sendSide, int ranks) {
  bool sendsAll = kind == Collective::kReduceScatter || kind == Collective::kAlltoAll ||
                  kind == Collective::kScatter;
  bool recvsAll = kind == Collective::kAllGather || kind == Collective::kAlltoAll ||
                  kind == Collective::kGather;
  return (sendSide ? sendsAll : recvsAll) ? static_cast<size_t>(ranks) : 1;
}

int32_t sumOf(int ranks, size_t i) {
  int32_t sum = 0;
  for (int rank = 0; rank < ranks; ++rank) sum += value(rank, i);
  return sum;
}

// Element i of what `rank` must have received; -1: nothing is written there.
int32_t expected(const Call& call, int rank, int ranks, size_t i) {
  auto me = static_cast<size_t>(rank);
  size_t block = i / call.count;
  size_t at = i % call.count;
  switch (call.kind) {
    case Collective::kAllReduce:
      return sumOf(ranks, i);
    case Collective::kReduce:
      return rank == call.root ? sumOf(ranks, i) : -1;
    case Collective::kReduceScatter:
      return sumOf(ranks, me * call.count + i);
    case Collective::kBroadcast:
      return value(call.root, i);
    case Collective::kAllGather:
      return value(static_cast<int>(block), at);
    case Collective::kGather:
      return rank == call.root ? value(static_cast<int>(block), at) : -1;
    case Collective::kAlltoAll:
      return value(static_cast<int>(block), me * call.count + at);
    case Collective::kScatter:
      return value(call.root, me * call.count + i);
    default:
      return 0;
  }
}

// As `slices` calls, each about a part of every block.
void runCollective(const LaneSet& set, Collective kind, size_t count, int root, uint32_t seed,
                   size_t slices) {
  auto ranks = static_cast<int>(set.lanes.size());
  std::vector<Buffers> buffers(set.lanes.size());
  std::vector<Batch> batches(set.lanes.size());
  std::vector<Call> calls(set.lanes.size());
  for (int rank = 0; rank < ranks; ++rank) {
    auto me = static_cast<size_t>(rank);
    Buffers& own = buffers[me];
    own.send.resize(count * blocksOf(kind, true, ranks));
    own.recv.assign(count * blocksOf(kind, false, ranks), -1);
    for (size_t i = 0; i < own.send.size(); ++i) own.send[i] = value(rank, i);
    Call& call = calls[me];
    call.kind = kind;
    call.type = DataType::kInt32;
    call.root = root;
    call.send = own.send.data();
    call.recv = own.recv.data();
    call.count = count;
    for (size_t i = 0; i < slices; ++i) {
      size_t begin = count * i / slices, end = count * (i + 1) / slices;
      batches[me].collective.push_back(sliceOf(call, begin, end - begin, nullptr));
    }
  }
  ASSERT_NO_FATAL_FAILURE(runBatches(set, batches, seed));
  for (int rank = 0; rank < ranks; ++rank) {
    const Ints& got = buffers[static_cast<size_t>(rank)].recv;
    const Call& call = calls[static_cast<size_t>(rank)];
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i], expected(call, rank, ranks, i)) << "rank " << rank << ", element " << i;
    }
  }
}

void everyCollective(const MakeLanes& make, size_t slices) {
  for (int ranks : {1, 2, 3, 5}) {
    LaneSet set = make(ranks);
    uint32_t seed = 0;
    for (size_t count : {1u, 5u, 1000u, 20011u, kLong}) {
      for (auto kind : {Collective::kAllReduce, Collective::kBroadcast, Collective::kReduce,
                        Collective::kAllGather, Collective::kReduceScatter, Collective::kAlltoAll,
                        Collective::kGather, Collective::kScatter}) {
        int root = static_cast<int>(++seed) % ranks;
        SCOPED_TRACE(std::string(collectiveName(kind)) + " of " + std::to_string(count) + " on " +
                     std::to_string(ranks) + " ranks, root " + std::to_string(root));
        ASSERT_NO_FATAL_FAILURE(runCollective(set, kind, count, root, seed, slices));
      }
    }
  }
}

}  // namespace

LaneSet laneSet(OwnedLanes made) {
  auto held = std::make_shared<OwnedLanes>(std::move(made));
  LaneSet set;
  for (auto& lane : held->lanes) set.lanes.push_back(lane.get());
  set.keep = held;
  return set;
}

void runBatches(const LaneSet& set, const std::vector<Batch>& batches, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<size_t> running;
  for (size_t rank = 0; rank < batches.size(); ++rank) {
    set.lanes[rank]->start(batches[rank]);
    running.push_back(rank);
  }
  int64_t movedAt = nowNanos();
  while (!running.empty()) {
    size_t at = random() % running.size();
    // Now and then one rank runs as far ahead as it may.
    bool rush = random() % 4 == 0;
    Progress progress;
    do {
      progress = set.lanes[running[at]]->poll();
      if (progress != Progress::kWaiting) movedAt = nowNanos();
    } while (rush && progress == Progress::kMoved);
    ASSERT_NE(progress, Progress::kFailed) << set.lanes[running[at]]->check().text();
    if (progress == Progress::kWaiting) sched_yield();  // a device may need the core
    ASSERT_LT(nowNanos() - movedAt, kStuckNanos) << "all ranks wait for each other";
    if (progress == Progress::kDone) running.erase(running.begin() + static_cast<ptrdiff_t>(at));
  }
}

void collectivesGiveExactResults(const MakeLanes& make) { everyCollective(make, 1); }
void slicesGiveExactResults(const MakeLanes& make) { everyCollective(make, 3); }

void messagesArriveInOrder(const MakeLanes& make) {
  constexpr int kRanks = 3;
  LaneSet set = make(kRanks);
  // Everybody sends three messages to everybody, himself too; sizes from nothing to many cells.
  for (uint32_t seed = 0; seed < 10; ++seed) {
    const size_t counts[] = {0, 3, 40000};
    std::vector<Ints> sent, got;
    std::vector<Batch> batches(kRanks);
    sent.reserve(64);
    got.reserve(64);
    for (int rank = 0; rank < kRanks; ++rank) {
      for (int peer = 0; peer < kRanks; ++peer) {
        for (size_t i = 0; i < 3; ++i) {
          Call call;
          call.type = DataType::kInt32;
          call.root = peer;
          call.count = counts[i];
          call.kind = Collective::kSend;
          sent.emplace_back(counts[i], rank * 100 + peer * 10 + static_cast<int>(i));
          call.send = sent.back().data();
          batches[static_cast<size_t>(rank)].single.push_back(call);
          call.kind = Collective::kRecv;
          got.emplace_back(counts[i], -1);
          call.recv = got.back().data();
          batches[static_cast<size_t>(rank)].single.push_back(call);
        }
      }
    }
    ASSERT_NO_FATAL_FAILURE(runBatches(set, batches, seed));
    size_t at = 0;
    for (int rank = 0; rank < kRanks; ++rank) {
      for (int peer = 0; peer < kRanks; ++peer) {
        for (int i = 0; i < 3; ++i, ++at) {
          for (int32_t x : got[at]) ASSERT_EQ(x, peer * 100 + rank * 10 + i);
        }
      }
    }
  }
}

void batchesMixMessagesAndCollectives(const MakeLanes& make) {
  LaneSet set = make(2);
  Ints a(5000, 1), b(5000, 2), message(10, 7), got(10, 0), sumA(5000), sumB(5000);
  Call all;
  all.kind = Collective::kAllReduce;
  all.type = DataType::kInt32;
  all.count = 5000;
  Call single;
  single.type = DataType::kInt32;
  single.count = 10;
  std::vector<Batch> batches(2);
  single.kind = Collective::kSend;
  single.root = 1;
  single.send = message.data();
  batches[0].single.push_back(single);
  single.kind = Collective::kRecv;
  single.root = 0;
  single.recv = got.data();
  batches[1].single.push_back(single);
  all.send = a.data();
  all.recv = sumA.data();
  batches[0].collective = {all, all};
  all.send = b.data();
  all.recv = sumB.data();
  batches[1].collective = {all, all};
  ASSERT_NO_FATAL_FAILURE(runBatches(set, batches, 1));
  EXPECT_EQ(got, message);
  EXPECT_EQ(sumA, Ints(5000, 3));
  EXPECT_EQ(sumB, Ints(5000, 3));
}

void unlikeCallsFailOnAllRanks(const MakeLanes& make) {
  LaneSet set = make(3);
  Ints data(100, 1);
  std::vector<Batch> batches(3);
  for (size_t rank = 0; rank < 3; ++rank) {
    Call call;
    call.kind = Collective::kAllReduce;
    call.type = DataType::kInt32;
    call.count = rank == 1 ? 99 : 100;
    call.send = call.recv = data.data();
    batches[rank].collective.push_back(call);
    set.lanes[rank]->start(batches[rank]);
  }
  auto failed = [](Lane* lane) { return lane->poll() == Progress::kFailed; };
  const Deadline deadline = Deadline::after(std::chrono::seconds(2));
  while (std::count_if(set.lanes.begin(), set.lanes.end(), failed) != 3 && !deadline.passed()) {
  }
  for (Lane* lane : set.lanes) {
    Status status = lane->check();
    EXPECT_EQ(status.code(), Code::kInvalidUsage);
    EXPECT_NE(std::string(status.text()).find("99"), std::string::npos) << status.text();
    EXPECT_NE(std::string(status.text()).find("100"), std::string::npos) << status.text();
  }
}

void abortEndsWaiting(const MakeLanes& make) {
  LaneSet set = make(2);
  Ints data(10, 1);
  Batch batch;
  Call call;
  call.kind = Collective::kAllReduce;
  call.type = DataType::kInt32;
  call.count = 10;
  call.send = call.recv = data.data();
  batch.collective.push_back(call);
  set.lanes[0]->start(batch);
  const Deadline deadline = Deadline::after(std::chrono::seconds(2));  // for a device
  Progress progress;
  do {
    progress = set.lanes[0]->poll();
    EXPECT_TRUE(set.lanes[0]->check().ok());
  } while ((progress == Progress::kMoved || set.lanes[0]->state().waitingFor != 1) &&
           !deadline.passed());
  EXPECT_EQ(progress, Progress::kWaiting);
  EXPECT_EQ(set.lanes[0]->state().waitingFor, 1);
  set.lanes[1]->abort(makeStatus(Code::kRemote, "rank 1 has had enough"));
  Status status = set.lanes[0]->check();
  EXPECT_EQ(status.code(), Code::kRemote);
  EXPECT_STREQ(status.text(), "rank 1 has had enough");
  EXPECT_EQ(set.lanes[0]->poll(), Progress::kFailed);
}

void noDeviceWritesAfterAFailure(const LaneSet& set, SlowDevice* device, size_t count,
                                 HoldBack when) {
  device->hold(when == HoldBack::kFromTheStart);
  std::vector<Ints> data(2, Ints(count, 1));
  std::vector<Batch> batches(2);
  for (size_t rank = 0; rank < 2; ++rank) {
    Call call;
    call.kind = Collective::kAllReduce;
    call.type = DataType::kInt32;
    call.send = call.recv = data[rank].data();
    call.count = count;
    batches[rank].collective.push_back(call);
    set.lanes[rank]->start(batches[rank]);
  }
  const Deadline deadline = Deadline::after(std::chrono::seconds(20));
  while (when == HoldBack::kUnderWay && set.lanes[0]->state().waitingFor != 1) {
    ASSERT_NE(set.lanes[0]->poll(), Progress::kFailed);
    ASSERT_TRUE(set.lanes[0]->check().ok());
    ASSERT_FALSE(deadline.passed());
  }
  device->hold(true);
  // Until rank 0 has enqueued all that it may: rank 1 waits for it.
  for (int64_t moved = nowNanos(); nowNanos() - moved < 50'000'000;) {
    for (Lane* lane : set.lanes) {
      const Progress progress = lane->poll();
      ASSERT_TRUE(progress == Progress::kWaiting || progress == Progress::kMoved);
      if (progress == Progress::kMoved) moved = nowNanos();
    }
    ASSERT_FALSE(deadline.passed());
  }
  set.lanes[0]->abort(makeStatus(Code::kRemote, "rank 0 has had enough"));
  EXPECT_EQ(set.lanes[0]->poll(), Progress::kFailed);
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    device->hold(false);
  });
  EXPECT_TRUE(set.lanes[0]->rehomeExposed().ok());
  std::fill(data[0].begin(), data[0].end(), 7);
  later.join();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_EQ(data[0], Ints(count, 7));
}

}  // namespace flexlink
