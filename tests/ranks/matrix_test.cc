// SPDX-License-Identifier: Apache-2.0
// Every collective, type, operator, count, memory and stream, on threads, processes and mixtures:
// all small combinations, and a pseudo-random sample of the rest (FLEXLINK_TEST_SEED).
#include <gtest/gtest.h>

#include <cstdio>
#include <sstream>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/collective_case.h"
#include "support/rank_run.h"

namespace ranktest {
namespace {

constexpr size_t kMaxBytes = size_t{4} << 20;

// args: seed, number of the first case, number of cases, bytes.
struct Sample {
  uint64_t seed = 0;
  uint64_t first = 0;
  uint64_t cases = 0;
  size_t maxBytes = 0;
  explicit Sample(const std::string& args) {
    std::istringstream(args) >> seed >> first >> cases >> maxBytes;
  }
};

RANK_BODY(RandomCases) {
  const Sample sample(ctx.args);
  Comm comm = makeWorld(ctx);
  Stream stream;
  {
    CaseRunner runner(comm, ctx.rank, ctx.size, 3 * sample.maxBytes);
    for (uint64_t i = sample.first; i < sample.first + sample.cases; ++i) {
      const Case c = drawCase(sample.seed, i, ctx.size, sample.maxBytes);
      try {
        runner.run(c, mix(c.key, 5) % 2 == 0 ? nullptr : static_cast<cudaStream_t>(stream));
      } catch (const RankFailure& e) {
        throw RankFailure("FLEXLINK_TEST_SEED=" + std::to_string(sample.seed) + " case " +
                          std::to_string(i) + ": " + e.what());
      }
    }
    ctx.publish(runner.digest());
  }
  comm.destroy();
}

// Several operations of one communicator behind each other on a stream, checked at the end.
RANK_BODY(RandomBatches) {
  const Sample sample(ctx.args);
  Comm comm = makeWorld(ctx);
  Stream stream;
  {
    constexpr uint64_t kBatch = 12;
    CaseRunner runner(comm, ctx.rank, ctx.size, 3 * kBatch * sample.maxBytes);
    for (uint64_t i = 0; i < sample.cases; i += kBatch) {
      const bool grouped = i / kBatch % 2 == 1;
      if (grouped) RANK_OK(ncclGroupStart());
      for (uint64_t k = i; k < i + kBatch; ++k) {
        runner.issue(drawCase(sample.seed, sample.first + k, ctx.size, sample.maxBytes), stream);
      }
      if (grouped) RANK_OK(ncclGroupEnd());
      stream.sync();
      runner.verifyAll();
    }
  }
  comm.destroy();
}

RANK_BODY(AllSmallCases) {
  Comm comm = makeWorld(ctx);
  {
    CaseRunner runner(comm, ctx.rank, ctx.size, size_t{1} << 20);
    uint64_t number = 0;
    for (Coll coll : kAllColls) {
      for (ncclDataType_t type : kAllTypes) {
        for (Op op : kAllOps) {
          if (!reduces(coll) && op != Op::kSum) continue;
          for (size_t count : {0, 1, 3, 17}) {
            for (bool inPlace : {false, true}) {
              if (inPlace && (coll == Coll::kAlltoAll || coll == Coll::kSendRecv)) continue;
              Case c;
              c.coll = coll;
              c.type = type;
              c.op = op;
              c.count = count;
              c.inPlace = inPlace || coll == Coll::kBcast;
              c.key = mix(2, ++number);
              c.root = static_cast<int>(number % static_cast<uint64_t>(ctx.size));
              c.smallIntegers = number % 2 == 0;
              runner.run(c, nullptr);
            }
          }
        }
      }
    }
  }
  comm.destroy();
}

struct Shape {
  int size;
  How how;
};

std::string shapeName(const ::testing::TestParamInfo<Shape>& info) {
  return std::to_string(info.param.size) + howName(info.param.how);
}

class Matrix : public ::testing::TestWithParam<Shape> {
 protected:
  RunOptions options(uint64_t cases, size_t maxBytes) const {
    RunOptions o;
    o.size = GetParam().size;
    o.how = GetParam().how;
    // Each shape draws its own part of the list.
    const uint64_t first = static_cast<uint64_t>(o.size * 3 + static_cast<int>(o.how)) * 1'000'000;
    o.args = std::to_string(testSeed()) + " " + std::to_string(first) + " " +
             std::to_string(cases) + " " + std::to_string(maxBytes);
    return o;
  }
};

TEST_P(Matrix, RandomCasesGiveExactResultsAndTouchNothingElse) {
  printf("FLEXLINK_TEST_SEED=%llu\n", static_cast<unsigned long long>(testSeed()));
  expectRanksPass("RandomCases", options(120, kMaxBytes));
}

TEST_P(Matrix, BatchesOnAStreamAndInGroupsGiveExactResults) {
  printf("FLEXLINK_TEST_SEED=%llu\n", static_cast<unsigned long long>(testSeed()));
  expectRanksPass("RandomBatches", options(96, size_t{256} << 10));
}

TEST_P(Matrix, AllSmallCombinationsGiveExactResults) {
  RunOptions o;
  o.size = GetParam().size;
  o.how = GetParam().how;
  expectRanksPass("AllSmallCases", o);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Matrix,
                         ::testing::Values(Shape{1, How::kThreads}, Shape{2, How::kThreads},
                                           Shape{2, How::kProcesses}, Shape{3, How::kThreads},
                                           Shape{3, How::kProcesses}, Shape{3, How::kMixed},
                                           Shape{4, How::kThreads}, Shape{4, How::kProcesses},
                                           Shape{4, How::kMixed}, Shape{5, How::kProcesses},
                                           Shape{5, How::kMixed}),
                         shapeName);

TEST(MoreRanksThanCores, EightRanksGiveExactResults) {
  for (How how : {How::kThreads, How::kProcesses, How::kMixed}) {
    RunOptions o;
    o.size = 8;
    o.how = how;
    o.args = std::to_string(testSeed()) + " 77000000 40 " + std::to_string(size_t{1} << 20);
    expectRanksPass("RandomCases", o);
  }
}

// The streams of a device copy and add instead of the ranks' threads.
TEST(CopiesByTheDevice, GiveExactResults) {
  for (How how : {How::kThreads, How::kProcesses, How::kMixed}) {
    for (const char* body : {"RandomCases", "RandomBatches"}) {
      RunOptions o;
      o.size = 3;
      o.how = how;
      o.env = {"FLEXLINK_COPIES=device"};
      o.args = std::to_string(testSeed()) + " 88000000 60 " + std::to_string(size_t{1} << 20);
      expectRanksPass(body, o);
    }
  }
}

// The same cases must give the same bits however the ranks live, and again in a second run.
RANK_BODY(ArbitraryFloatCases) {
  Comm comm = makeWorld(ctx);
  {
    const bool shared = ctx.args == "ncclMemAlloc";
    CaseRunner runner(comm, ctx.rank, ctx.size, size_t{8} << 20);
    uint64_t number = 0;
    for (Coll coll : {Coll::kAllReduce, Coll::kReduce, Coll::kReduceScatter}) {
      for (ncclDataType_t type : kAllTypes) {
        for (Op op : {Op::kSum, Op::kProd, Op::kAvg, Op::kPreMulSum}) {
          Case c;
          c.coll = coll;
          c.type = type;
          c.op = op;
          c.count = 300 + 997 * (number % 4);
          c.key = mix(11, ++number);
          c.smallIntegers = false;
          c.memory = shared ? Memory::kMemAlloc : Memory::kMalloc;
          runner.run(c, nullptr);
        }
      }
    }
    ctx.publish(runner.digest());
  }
  comm.destroy();
}

TEST(Bits, AreEqualBetweenRunsAndBetweenThreadsProcessesAndMemories) {
  std::vector<Outcome> outcomes;
  for (How how : {How::kThreads, How::kProcesses, How::kProcesses, How::kMixed}) {
    for (const char* memory : {"malloc", "ncclMemAlloc"}) {
      RunOptions o;
      o.size = 3;
      o.how = how;
      o.args = memory;
      outcomes.push_back(expectRanksPass("ArbitraryFloatCases", o));
    }
  }
  for (const Outcome& outcome : outcomes) {
    ASSERT_FALSE(outcome.values[0].empty());
    EXPECT_EQ(outcome.values, outcomes[0].values);
  }
}

}  // namespace
}  // namespace ranktest
