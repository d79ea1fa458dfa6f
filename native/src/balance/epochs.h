// SPDX-License-Identifier: Apache-2.0
// Which weights hold for which operation, agreed between all ranks of a communicator without any of
// them ever using others than its peers. Pure: it is told what ranks say, it sends nothing. Each
// rank holds one; not for two threads at once.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "balance/feedback.h"
#include "balance/weights.h"
#include "base/types.h"

namespace flexlink {

// Operations of one kind and of about one size, which share their weights.
constexpr uint16_t operationClass(Collective kind, uint64_t blockBytes) {
  int size = 0;
  while (blockBytes >>= 1) ++size;
  return static_cast<uint16_t>(static_cast<int>(kind) << 8 | size);
}

// Of a proposal: for all operations.
inline constexpr uint16_t kEveryClass = 0xffff;

constexpr Collective kindOf(uint16_t operationClass) {
  return static_cast<Collective>(operationClass >> 8);
}

// The smallest block of a class, in bytes.
constexpr uint64_t sizeOf(uint16_t operationClass) {
  return uint64_t{1} << (operationClass & 0xff);
}

// What operations of one class took on one rank, summed. Seconds: from the start of the operation.
struct LaneSample {
  uint16_t operations = 0;
  uint16_t operationClass = 0;
  uint32_t epoch = 0;  // the weights that they were split by
  std::array<double, kMostLanes> bytes{};
  std::array<double, kMostLanes> seconds{};
};

struct WeightProposal {
  Weights weights;
  uint16_t operationClass = 0;
  uint32_t ahead = 0;  // operations beyond the last that anybody has begun
};

// A rank's word in the first round. Rank 0 may add what it wants to be changed.
struct EpochReport {
  uint64_t begun = 0;  // operations
  std::vector<LaneSample> samples;
  std::optional<WeightProposal> proposal;
};

// Ranks agree in two rounds of "everybody says something, everybody hears all of it". In the first
// they tell what they have measured and how many operations they have begun. With a proposal in
// it, the change would hold from the operation F on that is `ahead` beyond the furthest rank; in
// the second round each says whether it has not begun F yet, and whoever says so does not begin it
// before it has heard all. All yes: it holds from F on. A no drops it. Epoch 0: all on lane 0.
class Epochs {
 public:
  struct Change {
    uint64_t first = 0;  // operation
    WeightProposal what;
  };

  // Rank 0 proposes. `fixed`: weights for ever instead.
  Epochs(int rank, int lanes, std::optional<Weights> fixed = {});

  // Weights for all operations, which rank 0 proposes until all ranks have agreed. Before the first
  // report; the ranks above 0 need not ask for them.
  void ask(const Weights& weights);

  // The next operation begins: the weights for it. Null: undecided, ask again later.
  const Weights* begin(uint16_t operationClass);

  int lanes() const { return lanes_; }

  // The number of the epoch of the operation that has begun last.
  uint32_t epoch() const { return epoch_; }

  // An operation is over: what each lane carried (0: nothing) and when it was through.
  void measured(uint16_t operationClass, uint32_t epoch, std::span<const double> bytes,
                std::span<const double> seconds);

  // Is there anything to tell the others?
  bool due() const { return !samples_.empty() || again_; }

  // The first round.
  EpochReport report();
  // All reports, by rank. A value: the second round follows, and this is this rank's word in it.
  std::optional<bool> heard(const std::vector<EpochReport>& reports);
  // The second round, by rank.
  void decided(const std::vector<bool>& votes);

  // The last change that was agreed upon and has not come yet; null: none.
  const Change* agreed() const { return agreed_.empty() ? nullptr : &agreed_.back(); }

  // This rank has voted yes and has not heard the others.
  bool awaitsVotes() const { return pledged_.has_value(); }

 private:
  void learn(const std::vector<EpochReport>& reports, uint16_t operationClass);
  void propose();
  const Weights& weightsOf(uint16_t operationClass) const;

  const int rank_;
  const int lanes_;
  const bool fixed_;
  Weights first_;                        // of classes that no change was about
  std::map<uint16_t, Weights> weights_;  // by class, in this epoch
  uint64_t begun_ = 0;
  uint32_t epoch_ = 0;
  std::map<uint16_t, LaneSample> samples_;  // by class, since the last report
  std::optional<Change> pledged_;           // voted for, undecided
  std::deque<Change> agreed_;               // to come, in order
  bool asked_ = false;                      // the round is about weights for all operations
  bool again_ = false;                      // those were voted down and will be proposed again

  // Rank 0's.
  std::map<uint16_t, Feedback> feedback_;
  std::optional<WeightProposal> proposal_;
  std::optional<Weights> wish_;  // of ask()
  uint32_t ahead_ = 4;
};

}  // namespace flexlink
