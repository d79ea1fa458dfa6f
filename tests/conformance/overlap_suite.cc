// SPDX-License-Identifier: Apache-2.0
// The part of the suite about batches of messages that are at hand together.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <thread>

#include "base/clock.h"
#include "conformance/lane_suite.h"

namespace flexlink {
namespace {

using Ints = std::vector<int32_t>;

constexpr size_t kSmall = 100;
constexpr size_t kLarge = 60'000;  // more than any lane sends before its peer has a receive

Batch message(Collective kind, int peer, Ints* data) {
  Call call;
  call.kind = kind;
  call.type = DataType::kInt32;
  call.root = peer;
  call.send = call.recv = data->data();
  call.count = data->size();
  Batch batch;
  batch.single.push_back(call);
  return batch;
}

// Lanes of which each may have several batches at hand.
class Jobs {
 public:
  explicit Jobs(const LaneSet& set) : set_(set), atHand_(set.lanes.size()) {}

  void start(size_t rank, const Batch& batch) {
    ASSERT_TRUE(atHand_[rank].empty() || set_.lanes[rank]->overlaps());
    atHand_[rank].insert(&batch);
    set_.lanes[rank]->start(batch);
  }

  void poll(size_t rank) {
    if (atHand_[rank].empty()) return;
    Progress progress = set_.lanes[rank]->poll();
    ASSERT_NE(progress, Progress::kFailed) << set_.lanes[rank]->failure().text();
    if (progress != Progress::kDone) return;
    const Batch* batch = set_.lanes[rank]->finished();
    ASSERT_EQ(atHand_[rank].erase(batch), 1u) << "rank " << rank;
    if (!set_.lanes[rank]->outcome().ok()) lost_[batch] = set_.lanes[rank]->outcome();
  }

  bool over(size_t rank, const Batch& batch) const { return atHand_[rank].count(&batch) == 0; }
  bool idle(size_t rank) const { return atHand_[rank].empty(); }

  // Why no message came; ok: it did.
  Status outcome(const Batch& batch) const {
    const auto found = lost_.find(&batch);
    return found == lost_.end() ? Status() : found->second;
  }

  // Until all these are over; false after a while.
  template <typename Over>
  bool pollUntil(Over&& over) {
    const Deadline deadline = Deadline::after(std::chrono::seconds(20));
    while (!over()) {
      for (size_t rank = 0; rank < atHand_.size(); ++rank) poll(rank);
      if (deadline.passed() || testing::Test::HasFatalFailure()) return false;
    }
    return true;
  }

 private:
  const LaneSet& set_;
  std::vector<std::set<const Batch*>> atHand_;
  std::map<const Batch*, Status> lost_;
};

// One message of those that all ranks send each other, each in a batch of its own.
struct Letter {
  size_t rank;
  Batch batch;
  Ints data;
  int32_t expected = 0;  // of a receive: every element
};

// In the order in which a rank starts them: at random, but those of one way in the order of theirs.
std::vector<std::deque<std::unique_ptr<Letter>>> letters(int ranks, int perWay,
                                                         std::mt19937* random) {
  const size_t counts[] = {2, 2048, 0, 20'000, 1, kLarge};
  std::vector<std::deque<std::unique_ptr<Letter>>> all(static_cast<size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<std::pair<int, Collective>> ways;
    for (int peer = 0; peer < ranks; ++peer) {
      ways.insert(ways.end(), static_cast<size_t>(perWay), {peer, Collective::kSend});
      ways.insert(ways.end(), static_cast<size_t>(perWay), {peer, Collective::kRecv});
    }
    std::shuffle(ways.begin(), ways.end(), *random);
    std::map<std::pair<int, Collective>, int> number;
    for (const auto& way : ways) {
      const auto& [peer, kind] = way;
      const int n = number[way]++;
      const bool sends = kind == Collective::kSend;
      const int from = sends ? rank : peer, to = sends ? peer : rank;
      auto letter = std::make_unique<Letter>();
      letter->rank = static_cast<size_t>(rank);
      letter->expected = from * 10'000 + to * 100 + n;
      letter->data.assign(counts[static_cast<size_t>(from + 2 * to + n) % 6],
                          sends ? letter->expected : -1);
      letter->batch = message(kind, peer, &letter->data);
      all[static_cast<size_t>(rank)].push_back(std::move(letter));
    }
  }
  return all;
}

}  // namespace

// Rank 0 waits for a small and a large message of rank 1, and has a large one for it; rank 1 does
// nothing. What rank 0 and rank 2 have for each other comes and goes.
void batchesOfMessagesDoNotWaitForEachOther(const MakeLanes& make) {
  LaneSet set = make(3);
  Jobs jobs(set);
  Ints late(kSmall), lateLarge(kLarge), large(kLarge, 3), there(kSmall, 5), back(kLarge, 6);
  Ints gotThere(kSmall), gotBack(kLarge), small(kSmall, 1), larger(kLarge, 2), got(kLarge);
  const Batch first = message(Collective::kRecv, 1, &late);
  const Batch second = message(Collective::kRecv, 1, &lateLarge);
  const Batch third = message(Collective::kSend, 1, &large);
  jobs.start(0, first);
  jobs.start(0, second);
  jobs.start(0, third);
  for (int round = 0; round < 3; ++round) {
    const Batch send = message(Collective::kSend, 2, &there),
                receive = message(Collective::kRecv, 2, &gotBack);
    const Batch take = message(Collective::kRecv, 0, &gotThere),
                answer = message(Collective::kSend, 0, &back);
    jobs.start(0, receive);
    jobs.start(0, send);
    jobs.start(2, take);
    jobs.start(2, answer);
    ASSERT_TRUE(jobs.pollUntil(
        [&] { return jobs.idle(2) && jobs.over(0, send) && jobs.over(0, receive); }));
    ASSERT_EQ(gotThere, there);
    ASSERT_EQ(gotBack, back);
    ASSERT_FALSE(jobs.over(0, first) || jobs.over(0, second) || jobs.over(0, third));
  }
  EXPECT_TRUE(set.lanes[0]->check().ok());
  EXPECT_EQ(set.lanes[0]->state().waitingFor, 1);
  const Batch answers[] = {message(Collective::kSend, 0, &small),
                           message(Collective::kSend, 0, &larger),
                           message(Collective::kRecv, 0, &got)};
  for (const Batch& answer : answers) jobs.start(1, answer);
  ASSERT_TRUE(jobs.pollUntil([&] { return jobs.idle(0) && jobs.idle(1); }));
  EXPECT_EQ(late, small);
  EXPECT_EQ(lateLarge, larger);
  EXPECT_EQ(got, large);
}

void batchesOfMessagesKeepTheOrderOfAPair(const MakeLanes& make) {
  constexpr int kRanks = 3;
  LaneSet set = make(kRanks);
  for (uint32_t seed = 0; seed < 5; ++seed) {
    std::mt19937 random(seed);
    auto toStart = letters(kRanks, 4, &random);
    std::vector<std::unique_ptr<Letter>> started;
    Jobs jobs(set);
    const Deadline deadline = Deadline::after(std::chrono::seconds(20));
    auto over = [&] {
      for (size_t rank = 0; rank < kRanks; ++rank) {
        if (!toStart[rank].empty() || !jobs.idle(rank)) return false;
      }
      return true;
    };
    while (!over()) {
      ASSERT_FALSE(deadline.passed()) << "all ranks wait for each other, seed " << seed;
      const size_t rank = random() % kRanks;
      if (!toStart[rank].empty() && random() % 8 == 0) {
        started.push_back(std::move(toStart[rank].front()));
        toStart[rank].pop_front();
        ASSERT_NO_FATAL_FAILURE(jobs.start(rank, started.back()->batch));
      }
      ASSERT_NO_FATAL_FAILURE(jobs.poll(rank));
    }
    for (const auto& letter : started) {
      ASSERT_EQ(letter->data, Ints(letter->data.size(), letter->expected))
          << "rank " << letter->rank << ", peer " << letter->batch.single[0].root;
    }
  }
}

void messagesToOneselfMeetAcrossBatches(const MakeLanes& make) {
  LaneSet set = make(2);
  Jobs jobs(set);
  Ints sent(kLarge, 9), got(kLarge), other(kSmall, 4), gotOther(kSmall);
  const Batch receive = message(Collective::kRecv, 0, &got),
              send = message(Collective::kSend, 0, &sent);
  const Batch there = message(Collective::kSend, 1, &other),
              take = message(Collective::kRecv, 0, &gotOther);
  jobs.start(0, receive);
  jobs.start(0, there);
  jobs.start(1, take);
  ASSERT_TRUE(jobs.pollUntil([&] { return jobs.over(0, there) && jobs.idle(1); }));
  EXPECT_FALSE(jobs.over(0, receive));
  jobs.start(0, send);
  ASSERT_TRUE(jobs.pollUntil([&] { return jobs.idle(0); }));
  EXPECT_EQ(got, sent);
  EXPECT_EQ(gotOther, other);
}

// Rank 1 has left when rank 0 waits for it, by a small and a large receive: both end, what it had
// sent before comes all the same, and rank 2 is awaited as before.
void aReceiveEndsAloneWhenItsSenderHasLeft(const MakeLanes& make) {
  LaneSet set = make(3);
  Jobs jobs(set);
  Ints sent(kSmall, 8), got(kSmall), small(kSmall, -1), large(kLarge, -1), other(kLarge, 5),
      gotOther(kLarge);
  const Batch last = message(Collective::kSend, 0, &sent);
  jobs.start(1, last);
  ASSERT_TRUE(jobs.pollUntil([&] { return jobs.idle(1); }));
  const Batch receives[] = {
      message(Collective::kRecv, 1, &got), message(Collective::kRecv, 1, &small),
      message(Collective::kRecv, 1, &large), message(Collective::kRecv, 2, &gotOther)};
  for (const Batch& receive : receives) jobs.start(0, receive);
  std::thread leaver([&] { set.lanes[1]->close(); });  // waits until the others have its last word
  const bool ended = jobs.pollUntil([&] {
    (void)set.lanes[2]->poll();  // idle, and links move all the same
    EXPECT_TRUE(set.lanes[0]->check().ok()) << set.lanes[0]->failure().text();
    return jobs.over(0, receives[0]) && jobs.over(0, receives[1]) && jobs.over(0, receives[2]);
  });
  leaver.join();
  ASSERT_TRUE(ended);
  EXPECT_EQ(got, sent);
  EXPECT_TRUE(jobs.outcome(receives[0]).ok());
  for (const Batch* lost : {&receives[1], &receives[2]}) {
    EXPECT_EQ(jobs.outcome(*lost).code(), Code::kRemote);
    EXPECT_NE(std::string(jobs.outcome(*lost).text()).find("rank 1 has left"), std::string::npos)
        << jobs.outcome(*lost).text();
  }
  EXPECT_FALSE(jobs.over(0, receives[3]));
  const Batch answer = message(Collective::kSend, 0, &other);
  jobs.start(2, answer);
  ASSERT_TRUE(jobs.pollUntil([&] { return jobs.idle(0) && jobs.idle(2); }));
  EXPECT_TRUE(jobs.outcome(receives[3]).ok());
  EXPECT_EQ(gotOther, other);
  EXPECT_EQ(small, Ints(kSmall, -1));
  EXPECT_TRUE(set.lanes[0]->check().ok());
}

}  // namespace flexlink
