// SPDX-License-Identifier: Apache-2.0
// Step lists of all ranks, run against each other in random order. A message takes its bytes from
// the sender's memory when it arrives, not when it is sent, as a link may that sends it again: so a
// schedule that overwrites what is still on its way gives a wrong result.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "schedule/pattern_choice.h"
#include "schedule/steps.h"

namespace flexlink {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kSegment = 192;

uint8_t valueOf(int rank, size_t i) { return static_cast<uint8_t>(rank * 37 + i * 11 + i / 256); }

// One rank's memory and how far it is in one segment.
struct RankState {
  Bytes send, recv, scratch;
  bool inPlace = false;
  std::vector<Step> steps;
  int phase = -1;
  std::map<int, int> gates;  // transfers that are not over, by the phase that waits for them
};

struct Transfer {
  const Step* step;
  int rank;
};

class World {
 public:
  World(Collective kind, Pattern pattern, int ranks, int root, size_t block, bool inPlace)
      : kind_(kind), pattern_(pattern), root_(root), block_(block), ranks_(ranks) {
    for (int rank = 0; rank < ranks; ++rank) {
      RankState& state = states_.emplace_back();
      state.inPlace = inPlace;
      size_t all = block * static_cast<size_t>(ranks);
      state.send.resize(all);
      for (size_t i = 0; i < all; ++i) state.send[i] = valueOf(rank, i);
      state.recv = inPlace ? state.send : Bytes(all, 0xee);
    }
  }

  ScheduleCall callOf(int rank) const {
    return {
        kind_,   rank, ranks_, root_, block_, block_, states_[static_cast<size_t>(rank)].inPlace,
        pattern_};
  }

  void run(uint32_t seed) {
    std::mt19937 random(seed);
    size_t piece = pieceBytes(callOf(0));
    for (size_t begin = 0; begin < piece; begin += kSegment) {
      ByteRange segment{begin, std::min(piece, begin + kSegment)};
      ASSERT_NO_FATAL_FAILURE(runSegment(segment, &random));
    }
  }

  const Bytes& result(int rank) const {
    const RankState& state = states_[static_cast<size_t>(rank)];
    return state.inPlace ? state.send : state.recv;
  }

 private:
  // In place: one memory for both.
  Bytes& space(RankState& state, Space where) {
    if (where == Space::kScratch) return state.scratch;
    return where == Space::kSend || state.inPlace ? state.send : state.recv;
  }
  size_t scratchAt(Space where, int owner) const {
    return where == Space::kScratch ? static_cast<size_t>(owner) * kSegment : 0;
  }

  void runSegment(ByteRange segment, std::mt19937* random) {
    for (int rank = 0; rank < ranks_; ++rank) {
      RankState& state = states_[static_cast<size_t>(rank)];
      state.steps = makeSteps(callOf(rank), segment);
      state.scratch.assign(kSegment * static_cast<size_t>(ranks_), 0xdd);
      state.phase = -1;
      state.gates.clear();
    }
    for (int idle = 0; idle < 3000; ++idle) {
      auto rank = static_cast<size_t>((*random)() % static_cast<size_t>(ranks_));
      if (advance(&states_[rank], static_cast<int>(rank))) idle = 0;
      if ((*random)() % 2 == 0 && deliver(random)) idle = 0;
    }
    for (RankState& state : states_) {
      ASSERT_EQ(state.phase, lastPhase(state)) << "a rank hangs";
      for (auto [gate, left] : state.gates) ASSERT_EQ(left, 0) << "a message has no other end";
    }
  }

  static int lastPhase(const RankState& state) {
    int last = 0;
    for (const Step& step : state.steps) last = std::max<int>({last, step.phase, step.gate});
    return last;
  }

  bool advance(RankState* state, int rank) {
    if (state->phase == lastPhase(*state)) return false;
    int next = state->phase + 1;
    if (next > 0 && state->gates[next] != 0) return false;
    state->phase = next;
    for (const Step& step : state->steps) {
      if (step.phase == next) begin(state, rank, step);
    }
    return true;
  }

  void begin(RankState* state, int rank, const Step& step) {
    Bytes& from = space(*state, step.from);
    Bytes& to = space(*state, step.to);
    if (step.kind == Step::Kind::kCopy) {
      std::copy_n(from.begin() + static_cast<ptrdiff_t>(step.fromOffset), step.bytes,
                  to.begin() + static_cast<ptrdiff_t>(step.toOffset));
    } else if (step.kind == Step::Kind::kFold) {
      size_t at = step.toOffset + scratchAt(step.to, rank);
      for (size_t i = 0; i < step.bytes; ++i) {
        uint8_t sum = from[step.fromOffset + i];
        for (int peer = 0; peer < ranks_; ++peer) {
          if (peer != rank)
            sum = static_cast<uint8_t>(sum + state->scratch[scratchAt(Space::kScratch, peer) + i]);
        }
        to[at + i] = sum;
      }
    } else {
      ++state->gates[step.gate];
      bool sends = step.kind == Step::Kind::kSend;
      auto& side = sends ? sent_ : awaited_;
      auto key =
          sends ? std::tuple{rank, step.peer, step.tag} : std::tuple{step.peer, rank, step.tag};
      EXPECT_TRUE(side.try_emplace(key, Transfer{&step, rank}).second) << "two messages alike";
    }
  }

  // One message whose both ends are there arrives; false: there is none.
  bool deliver(std::mt19937* random) {
    std::vector<std::tuple<int, int, uint8_t>> both;
    for (const auto& [key, transfer] : sent_) {
      if (awaited_.count(key) != 0) both.push_back(key);
    }
    if (both.empty()) return false;
    auto key = both[(*random)() % both.size()];
    Transfer out = sent_.at(key), in = awaited_.at(key);
    sent_.erase(key);
    awaited_.erase(key);
    EXPECT_EQ(out.step->bytes, in.step->bytes);
    RankState& source = states_[static_cast<size_t>(out.rank)];
    RankState& target = states_[static_cast<size_t>(in.rank)];
    size_t fromAt = out.step->fromOffset + scratchAt(out.step->from, out.rank);
    size_t toAt = in.step->toOffset + scratchAt(in.step->to, out.rank);
    Bytes bytes(
        space(source, out.step->from).begin() + static_cast<ptrdiff_t>(fromAt),
        space(source, out.step->from).begin() + static_cast<ptrdiff_t>(fromAt + out.step->bytes));
    std::copy(bytes.begin(), bytes.end(),
              space(target, in.step->to).begin() + static_cast<ptrdiff_t>(toAt));
    --source.gates[out.step->gate];
    --target.gates[in.step->gate];
    return true;
  }

  const Collective kind_;
  const Pattern pattern_;
  const int root_;
  const size_t block_;
  const int ranks_;
  std::vector<RankState> states_;
  std::map<std::tuple<int, int, uint8_t>, Transfer> sent_, awaited_;
};

uint8_t sumAt(int ranks, size_t i) {
  uint8_t sum = 0;
  for (int rank = 0; rank < ranks; ++rank) sum = static_cast<uint8_t>(sum + valueOf(rank, i));
  return sum;
}

void check(const World& world, Collective kind, int ranks, int root, size_t block) {
  for (int rank = 0; rank < ranks; ++rank) {
    const Bytes& got = world.result(rank);
    auto me = static_cast<size_t>(rank);
    bool all = kind == Collective::kAllGather || kind == Collective::kAlltoAll ||
               (kind == Collective::kGather && rank == root);
    bool gets = (kind != Collective::kReduce && kind != Collective::kGather) || rank == root;
    for (size_t i = 0; gets && i < block * (all ? static_cast<size_t>(ranks) : 1); ++i) {
      auto from = static_cast<int>(i / block);
      size_t at = i % block;
      uint8_t expected = 0;
      switch (kind) {
        case Collective::kAllReduce:
        case Collective::kReduce:
          expected = sumAt(ranks, i);
          break;
        case Collective::kReduceScatter:
          expected = sumAt(ranks, me * block + i);
          break;
        case Collective::kBroadcast:
          expected = valueOf(root, i);
          break;
        case Collective::kScatter:
          expected = valueOf(root, me * block + i);
          break;
        case Collective::kAlltoAll:
          expected = valueOf(from, me * block + at);
          break;
        default:
          expected = valueOf(from, at);
      }
      ASSERT_EQ(got[i], expected) << "rank " << rank << ", byte " << i;
    }
  }
}

constexpr Collective kKinds[] = {
    Collective::kAllReduce, Collective::kReduce, Collective::kReduceScatter, Collective::kBroadcast,
    Collective::kScatter,   Collective::kGather, Collective::kAllGather,     Collective::kAlltoAll};

TEST(Schedule, EveryPatternOfEveryCollectiveGivesTheResultInAnyOrder) {
  uint32_t seed = 0;
  for (int pattern = 0; pattern < kPatterns; ++pattern) {
    for (Collective kind : kKinds) {
      for (int ranks : {2, 3, 4, 5, 8, 11}) {
        for (size_t block : {64u, 1000u}) {
          ScheduleCall call{kind, 0, ranks, 0, block, block, false, Pattern::kDirect};
          if (!hasPattern(call, static_cast<Pattern>(pattern))) continue;
          bool mayBeInPlace = kind == Collective::kAllReduce || kind == Collective::kBroadcast;
          for (bool inPlace : {false, true}) {
            if (inPlace && !mayBeInPlace) continue;
            int root = static_cast<int>(++seed) % ranks;
            SCOPED_TRACE(std::string(patternName(static_cast<Pattern>(pattern))) + " " +
                         collectiveName(kind) + " of " + std::to_string(block) + " on " +
                         std::to_string(ranks) + (inPlace ? " in place" : ""));
            World world(kind, static_cast<Pattern>(pattern), ranks, root, block, inPlace);
            ASSERT_NO_FATAL_FAILURE(world.run(seed));
            ASSERT_NO_FATAL_FAILURE(check(world, kind, ranks, root, block));
          }
        }
      }
    }
  }
}

Pattern chosen(Collective kind, int ranks, size_t bytes) {
  return cheapestPattern({kind, 0, ranks, 0, bytes, bytes, false, Pattern::kDirect}, WireCost{});
}

TEST(PatternChoice, SmallAllReducesTakeOneHopAndLargeOnesFoldShards) {
  EXPECT_EQ(chosen(Collective::kAllReduce, 2, 8), Pattern::kOneShot);
  EXPECT_EQ(chosen(Collective::kAllReduce, 8, 1024), Pattern::kOneShot);
  EXPECT_EQ(chosen(Collective::kAllReduce, 2, 64 << 20), Pattern::kDirect);
  EXPECT_EQ(chosen(Collective::kAllReduce, 64, 64 << 10), Pattern::kDirect);
}

TEST(PatternChoice, BroadcastsSpreadTheRootsWorkOnceThereAreManyRanks) {
  EXPECT_EQ(chosen(Collective::kBroadcast, 2, 64 << 20), Pattern::kDirect);
  EXPECT_EQ(chosen(Collective::kBroadcast, 4, 8), Pattern::kDirect);
  EXPECT_EQ(chosen(Collective::kBroadcast, 16, 256 << 10), Pattern::kTree);
  EXPECT_EQ(chosen(Collective::kBroadcast, 8, 256 << 20), Pattern::kRing);
}

TEST(PatternChoice, WhatHasOnePatternTakesIt) {
  for (Collective kind : {Collective::kAllGather, Collective::kAlltoAll, Collective::kReduce}) {
    EXPECT_EQ(chosen(kind, 16, 1 << 20), Pattern::kDirect);
    EXPECT_FALSE(hasPattern({kind, 0, 4, 0, 100, 100, false, Pattern::kDirect}, Pattern::kRing));
  }
}

}  // namespace
}  // namespace flexlink
