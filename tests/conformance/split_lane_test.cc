// SPDX-License-Identifier: Apache-2.0
// The split lane over two memory lanes in the suite of all lanes, and with one that breaks.
#include "lane/split/split_lane.h"

#include <gtest/gtest.h>

#include <random>

#include "base/clock.h"
#include "conformance/lane_suite.h"
#include "conformance/memory_lanes.h"
#include "support/sanitized.h"

namespace flexlink {
namespace {

// Works like the lane inside it for so many polls, then never again, and tells no peer.
class BreakingLane final : public Lane {
 public:
  BreakingLane(std::unique_ptr<Lane> inner, uint64_t polls, Code code)
      : inner_(std::move(inner)), left_(polls), code_(code) {}

  void start(const Batch& batch) override { inner_->start(batch); }
  void startCollective(const Call& call) override { inner_->startCollective(call); }
  Progress poll() override {
    if (left_ == 0) {
      failure_ = makeStatus(code_, "this lane is broken");
      return Progress::kFailed;
    }
    --left_;
    return inner_->poll();
  }
  const Status& outcome() const override { return inner_->outcome(); }
  Status check() override { return left_ == 0 ? failure_ : inner_->check(); }
  void abort(const Status& reason) override { inner_->abort(reason); }
  void close() override { inner_->close(); }
  const Status& failure() const override { return left_ == 0 ? failure_ : inner_->failure(); }
  void probeFailure(const Status& status) override { inner_->probeFailure(status); }
  Status rehomeExposed() override { return inner_->rehomeExposed(); }
  void expose(void*, size_t) override {}
  void conceal(void*) override {}
  LaneState state() const override { return inner_->state(); }

 private:
  const std::unique_ptr<Lane> inner_;
  uint64_t left_;
  const Code code_;
  Status failure_;
};

struct Held {
  OwnedLanes first, second;
  std::vector<std::unique_ptr<SplitLane>> lanes;
  ~Held() { lanes.clear(); }
};

Weights parts(uint16_t first) {
  Weights weights = allOn(0, 2);
  weights.parts[0] = first;
  weights.parts[1] = static_cast<uint16_t>(kWholeWeight - first);
  return weights;
}

// `breaking`: the rank whose first lane breaks after so many polls; -1: none.
LaneSet splitLanes(int ranks, uint16_t first, int breaking = -1, uint64_t polls = 0,
                   Code code = Code::kSystem) {
  auto held = std::make_shared<Held>();
  held->first = makeMemoryLanes(ranks, tuned(false, 64, 4096, 3), 1 << 20);
  held->second = makeMemoryLanes(ranks, tuned(true, 0, 65536, 2), 1 << 20);
  LaneSet set;
  for (int rank = 0; rank < ranks; ++rank) {
    const auto at = static_cast<size_t>(rank);
    std::vector<std::unique_ptr<Lane>> lanes;
    lanes.push_back(std::move(held->first.lanes[at]));
    if (rank == breaking) {
      lanes[0] = std::make_unique<BreakingLane>(std::move(lanes[0]), polls, code);
    }
    lanes.push_back(std::move(held->second.lanes[at]));
    auto board = std::make_shared<EpochBoard>(rank, 2, parts(first));
    held->lanes.push_back(std::make_unique<SplitLane>(std::move(lanes), board));
    set.lanes.push_back(held->lanes.back().get());
  }
  set.keep = held;
  return set;
}

class SplitLanes : public testing::TestWithParam<uint16_t> {
 protected:
  MakeLanes make() const {
    return [first = GetParam()](int ranks) { return splitLanes(ranks, first); };
  }
};

TEST_P(SplitLanes, CollectivesGiveExactResults) { collectivesGiveExactResults(make()); }
TEST_P(SplitLanes, MessagesArriveInOrder) { messagesArriveInOrder(make()); }
TEST_P(SplitLanes, BatchesMixMessagesAndCollectives) { batchesMixMessagesAndCollectives(make()); }
TEST_P(SplitLanes, UnlikeCallsFailOnAllRanks) { unlikeCallsFailOnAllRanks(make()); }
TEST_P(SplitLanes, AbortEndsWaiting) { abortEndsWaiting(make()); }

INSTANTIATE_TEST_SUITE_P(Parts, SplitLanes, testing::Values<uint16_t>(1024, 700, 512, 1));

TEST(SplitLane, AReceiveEndsAloneWhenItsSenderHasLeft) {
  LaneSet set = splitLanes(2, 512);
  std::vector<int32_t> got(100, -1);
  Batch batch;
  Call call;
  call.kind = Collective::kRecv;
  call.type = DataType::kInt32;
  call.root = 1;
  call.recv = got.data();
  call.count = got.size();
  batch.single.push_back(call);
  set.lanes[1]->close();
  set.lanes[0]->start(batch);
  const Deadline deadline = Deadline::after(std::chrono::seconds(5));
  Progress progress;
  do {
    progress = set.lanes[0]->poll();
    EXPECT_TRUE(set.lanes[0]->check().ok());
  } while (progress != Progress::kDone && !deadline.passed());
  EXPECT_EQ(progress, Progress::kDone);
  EXPECT_EQ(set.lanes[0]->outcome().code(), Code::kRemote);
}

// One rank's view of calls that follow each other until the lane fails.
struct Runner {
  Lane* lane = nullptr;
  std::vector<int32_t> send, recv;
  Batch batch;
  uint64_t done = 0;  // calls
  bool failed = false;
};

constexpr int kRanks = 3;
constexpr int kRounds = ranktest::kSanitized ? 60 : 1000;  // of threads that come and go
constexpr size_t kCount = 30'000;

void begin(Runner* runner, int rank) {
  bool gathers = runner->done % 2 == 1;
  Call call;
  call.kind = gathers ? Collective::kAllGather : Collective::kAllReduce;
  call.type = DataType::kInt32;
  call.count = gathers ? kCount / kRanks : kCount;
  runner->send.assign(call.count, static_cast<int32_t>(runner->done) * 10 + rank);
  runner->recv.assign(kCount, -1);
  call.send = runner->send.data();
  call.recv = runner->recv.data();
  runner->batch = {};
  runner->batch.collective.push_back(call);
  runner->lane->start(runner->batch);
}

void expectRight(const Runner& runner) {
  auto base = static_cast<int32_t>(runner.done) * 10;
  for (size_t i = 0; i < kCount; ++i) {
    auto owner = static_cast<int32_t>(i / (kCount / kRanks));
    int32_t expected = runner.done % 2 == 1 ? base + owner : base * kRanks + 3;
    ASSERT_EQ(runner.recv[i], expected) << "call " << runner.done << ", element " << i;
  }
}

TEST(SplitLaneFaults, ALaneThatBreaksAtAnyPointOnOneRankGivesRightElementsOrOneErrorOnAll) {
  std::mt19937 random(7);
  for (int round = 0; round < kRounds; ++round) {
    int breaking = static_cast<int>(random() % kRanks);
    // Of what a lane says of a peer, the others are given time to say more.
    Code code = round < 10 ? Code::kRemote : Code::kSystem;
    LaneSet set = splitLanes(kRanks, 512, breaking, random() % 600, code);
    std::vector<Runner> runners(kRanks);
    for (int rank = 0; rank < kRanks; ++rank) {
      runners[static_cast<size_t>(rank)].lane = set.lanes[static_cast<size_t>(rank)];
      begin(&runners[static_cast<size_t>(rank)], rank);
    }
    int failed = 0;
    for (uint64_t steps = 0; failed < kRanks; ++steps) {
      ASSERT_LT(steps, 100'000'000u) << "round " << round << ": a rank hears nothing";
      int rank = static_cast<int>(random() % kRanks);
      Runner& runner = runners[static_cast<size_t>(rank)];
      if (runner.failed) continue;
      Progress progress = runner.lane->poll();
      if (progress == Progress::kDone) {
        ASSERT_NO_FATAL_FAILURE(expectRight(runner)) << "round " << round << ", rank " << rank;
        ++runner.done;
        begin(&runner, rank);
      } else if (progress == Progress::kFailed ||
                 (random() % 16 == 0 && !runner.lane->check().ok())) {
        runner.failed = true;
        ++failed;
      }
    }
    for (const Runner& runner : runners) {
      ASSERT_STREQ(runner.lane->failure().text(), "this lane is broken") << "round " << round;
    }
  }
}

}  // namespace
}  // namespace flexlink
