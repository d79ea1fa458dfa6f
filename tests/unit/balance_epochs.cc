// SPDX-License-Identifier: Apache-2.0
// Ranks that are apart by any number of operations and hear each other late: no operation is ever
// split in two ways, and what is proposed comes to hold.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "balance/epochs.h"

namespace flexlink {
namespace {

constexpr uint64_t kBlock = 64 << 20;
constexpr uint16_t kClass = operationClass(Collective::kAllReduce, kBlock);

// What was said in one round, by rank; heard once all have spoken.
struct Round {
  std::vector<EpochReport> reports;
  std::vector<bool> votes;
  size_t spoken = 0;
};

struct Rank {
  explicit Rank(int rank) : epochs(rank, 2) {}
  Epochs epochs;
  std::vector<Weights> used;   // by operation
  size_t said = 0, heard = 0;  // rounds
  bool voting = false, vote = false;
};

class World {
 public:
  World(int ranks, uint32_t seed) : random_(seed) {
    for (int rank = 0; rank < ranks; ++rank) ranks_.emplace_back(rank);
  }

  // Until every rank has begun `operations`.
  void run(size_t operations) {
    for (uint64_t steps = 0; least() < operations; ++steps) {
      ASSERT_LT(steps, 10'000'000u) << "a rank waits for ever";
      size_t at = random_() % ranks_.size();
      if (random_() % 2 == 0) {
        if (ranks_[at].used.size() < least() + apart_) begin(&ranks_[at]);
      } else {
        talk(at);
      }
      if (random_() % 64 == 0) apart_ = 1 + random_() % 40;
    }
  }

  const std::vector<Rank>& ranks() const { return ranks_; }

 private:
  size_t least() const {
    size_t least = SIZE_MAX;
    for (const Rank& rank : ranks_) least = std::min(least, rank.used.size());
    return least;
  }

  // Lanes of 4 and 2 GB/s.
  void begin(Rank* rank) {
    const Weights* weights = rank->epochs.begin(kClass);
    if (weights == nullptr) return;
    rank->used.push_back(*weights);
    double bytes[2], seconds[2];
    for (size_t lane = 0; lane < 2; ++lane) {
      bytes[lane] = static_cast<double>(kBlock) * weights->parts[lane] / kWholeWeight;
      seconds[lane] = bytes[lane] / (lane == 0 ? 4e9 : 2e9);
    }
    rank->epochs.measured(kClass, rank->epochs.epoch(), bytes, seconds);
  }

  void talk(size_t at) {
    Rank& rank = ranks_[at];
    if (rank.heard == rank.said) return speak(at);
    Round& round = rounds_[rank.heard];
    if (round.spoken < ranks_.size()) return;
    ++rank.heard;
    if (rank.voting) {
      rank.voting = false;
      return rank.epochs.decided(round.votes);
    }
    std::optional<bool> vote = rank.epochs.heard(round.reports);
    rank.voting = vote.has_value();
    rank.vote = vote.value_or(false);
  }

  void speak(size_t at) {
    Rank& rank = ranks_[at];
    if (!rank.voting && !rank.epochs.due()) return;
    if (rank.said == rounds_.size()) {
      rounds_.push_back(
          {std::vector<EpochReport>(ranks_.size()), std::vector<bool>(ranks_.size())});
    }
    Round& round = rounds_[rank.said++];
    ++round.spoken;
    if (rank.voting) {
      round.votes[at] = rank.vote;
    } else {
      round.reports[at] = rank.epochs.report();
    }
  }

  std::vector<Rank> ranks_;
  std::vector<Round> rounds_;
  size_t apart_ = 8;  // operations by which ranks may be
  std::mt19937 random_;
};

TEST(Epochs, NoOperationIsSplitInTwoWaysAndTheFitArrives) {
  for (int ranks : {1, 2, 3, 8}) {
    for (uint32_t seed = 1; seed <= 20; ++seed) {
      World world(ranks, seed);
      const size_t operations = 3000;
      ASSERT_NO_FATAL_FAILURE(world.run(operations));
      for (size_t i = 0; i < operations; ++i) {
        for (const Rank& rank : world.ranks()) {
          ASSERT_EQ(rank.used[i].parts, world.ranks()[0].used[i].parts)
              << "operation " << i << ", seed " << seed;
        }
      }
      std::vector<int> shares;
      for (size_t i = operations - 1000; i < operations; ++i) {
        shares.push_back(world.ranks()[0].used[i].parts[0]);
      }
      std::nth_element(shares.begin(), shares.begin() + 500, shares.end());
      EXPECT_NEAR(shares[500], kWholeWeight * 2.0 / 3, 25) << ranks << " ranks, seed " << seed;
    }
  }
}

TEST(Epochs, TheFirstOperationsAreWholeOnThePrimary) {
  Epochs epochs(0, 3);
  const Weights* weights = epochs.begin(kClass);
  ASSERT_NE(weights, nullptr);
  EXPECT_EQ(weights->parts[0], kWholeWeight);
  EXPECT_FALSE(epochs.awaitsVotes());
}

TEST(Epochs, ANoDropsTheChangeAndAPromiseHoldsUntilThen) {
  Epochs epochs(1, 2);
  std::vector<EpochReport> reports(2);
  reports[0].begun = 1;
  reports[0].proposal = WeightProposal{allOn(1, 2), kClass, 1};
  EXPECT_EQ(epochs.heard(reports), std::optional<bool>(true));
  EXPECT_NE(epochs.begin(kClass), nullptr);
  EXPECT_NE(epochs.begin(kClass), nullptr);
  EXPECT_EQ(epochs.begin(kClass), nullptr);  // operation 2: undecided
  epochs.decided({false, true});
  const Weights* weights = epochs.begin(kClass);
  ASSERT_NE(weights, nullptr);
  EXPECT_EQ(weights->parts[0], kWholeWeight);
}

TEST(Epochs, WhoHasBegunTheOperationVotesNo) {
  Epochs epochs(1, 2);
  for (int i = 0; i < 3; ++i) EXPECT_NE(epochs.begin(kClass), nullptr);
  std::vector<EpochReport> reports(2);
  reports[0].begun = 1;
  reports[0].proposal = WeightProposal{allOn(1, 2), kClass, 1};
  EXPECT_EQ(epochs.heard(reports), std::optional<bool>(false));
  EXPECT_NE(epochs.begin(kClass), nullptr);
}

// Whoever votes no has been too fast: it is proposed again, further ahead.
TEST(Epochs, WeightsForAllAreAskedForUntilAllAgree) {
  const Weights half = weightsOf(std::vector<double>{1, 1});
  std::vector<Epochs> ranks;
  ranks.emplace_back(0, 2);
  ranks.emplace_back(1, 2);
  for (Epochs& rank : ranks) rank.ask(half);
  for (int i = 0; i < 20; ++i) EXPECT_NE(ranks[1].begin(kClass), nullptr);
  int rounds = 0;
  for (bool agreed = false; !agreed; ++rounds) {
    ASSERT_LT(rounds, 10);
    std::vector<EpochReport> reports;
    for (Epochs& rank : ranks) reports.push_back(rank.report());
    ASSERT_TRUE(reports[0].proposal.has_value());
    EXPECT_FALSE(reports[1].proposal.has_value());
    for (int i = 0; i < 10; ++i) EXPECT_NE(ranks[1].begin(kClass), nullptr);
    std::vector<bool> votes;
    for (Epochs& rank : ranks) votes.push_back(*rank.heard(reports));
    for (Epochs& rank : ranks) rank.decided(votes);
    agreed = votes[1];
    for (Epochs& rank : ranks) EXPECT_EQ(rank.due(), !agreed);
  }
  EXPECT_EQ(rounds, 3);  // 4 and 8 operations ahead were too few
  const uint64_t first = ranks[0].agreed()->first;
  const uint16_t other = operationClass(Collective::kReduce, 4);
  for (uint64_t i = 0; i <= first; ++i) {
    const Weights* weights = ranks[0].begin(i % 2 == 0 ? kClass : other);
    ASSERT_NE(weights, nullptr);
    EXPECT_EQ(weights->parts[1], i < first ? 0 : kWholeWeight / 2) << i;
  }
}

TEST(Epochs, FixedWeightsStay) {
  Epochs epochs(0, 2, allOn(1, 2));
  double bytes[] = {0, 1e6}, seconds[] = {0, 1};
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(epochs.begin(kClass)->parts[1], kWholeWeight);
    epochs.measured(kClass, epochs.epoch(), bytes, seconds);
  }
  EXPECT_FALSE(epochs.due());
}

}  // namespace
}  // namespace flexlink
