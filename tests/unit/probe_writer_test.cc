// SPDX-License-Identifier: Apache-2.0
// What ProbeComm writes, word by word, as a reader outside sees it.
#include "probe/probe_writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/types.h"
#include "probe_support.h"

namespace flexlink {
namespace {

using probetest::Probe;
using probetest::Reader;

constexpr ProbeSignature kAllReduce{0, 7, 0, -1, 1000, 4000};
const ProbeCommInfo kInfo{0xabcdef, 0x12, 3, 8, 1, 2, "world"};

TEST(ProbeWriter, OpenedCommunicatorIsDescribedInTheFirstSlot) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  const FlexlinkProbeComm seen = Reader::read(probe.reader.slot(0).comm);
  EXPECT_EQ(seen.generation, 1u);
  EXPECT_EQ(seen.id, 0xabcdefu);
  EXPECT_EQ(seen.parent, 0x12u);
  EXPECT_EQ(seen.rankAndRanks, 3u | uint64_t{8} << 32);
  EXPECT_EQ(seen.hostAndHosts, 1u | uint64_t{2} << 32);
  EXPECT_STREQ(seen.name, "world");
  EXPECT_EQ(seen.state, FLEXLINK_PROBE_STATE_CONNECTING);
  EXPECT_EQ(seen.closedTicks, 0u);
  comm->state(ProbeState::kReady);
  EXPECT_EQ(Reader::read(probe.reader.slot(0).comm).state, FLEXLINK_PROBE_STATE_READY);
  probe->closeComm(comm);
}

TEST(ProbeWriter, BegunOperationIsTheLanesLiveState) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  comm->entered(5);
  const uint64_t before = comm->ticks();
  comm->begin(5, {1, 8, 2, 4, 77, 616}, 2);
  const uint64_t after = comm->ticks();
  comm->phase(ProbePhase::kMoving, 2);
  comm->progress(100, 2);
  const FlexlinkProbeLane live = Reader::read(probe.reader.slot(0).lanes[2]);
  EXPECT_EQ(live.seq, 5u);
  EXPECT_EQ(live.call, FLEXLINK_PROBE_CALL(1, 8, 2, 2, 4));
  EXPECT_EQ(live.count, 77u);
  EXPECT_EQ(live.bytes, 616u);
  EXPECT_EQ(live.phase, FLEXLINK_PROBE_PHASE_MOVING);
  EXPECT_EQ(live.bytesDone, 100u);
  EXPECT_EQ(live.waitRanks, ~uint64_t{0});
  EXPECT_GE(live.startTicks, before);
  EXPECT_LE(live.startTicks, after);
  EXPECT_EQ(Reader::read(probe.reader.slot(0).comm).entered, 6u);
  EXPECT_EQ(Reader::read(probe.reader.slot(0).comm).completed, 0u);
  EXPECT_EQ(Reader::read(probe.reader.slot(0).lanes[0]).phase, FLEXLINK_PROBE_PHASE_IDLE);
  probe->closeComm(comm);
}

TEST(ProbeWriter, EndedOperationIsARecordAndFreesTheLane) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  comm->begin(0, kAllReduce);
  comm->end(0, 0);
  const FlexlinkProbeRecord record = Reader::read(probe.reader.record(0, 0));
  EXPECT_EQ(record.version, 2u);
  EXPECT_EQ(record.seq, 0u);
  EXPECT_EQ(record.call, FLEXLINK_PROBE_CALL(0, 7, 0, 0, -1));
  EXPECT_EQ(record.count, 1000u);
  EXPECT_EQ(record.bytes, 4000u);
  EXPECT_LE(record.startTicks, record.endTicks);
  EXPECT_EQ(record.outcome, uint64_t{FLEXLINK_PROBE_RECORD_NO_RANK} << 8);
  const FlexlinkProbeLane live = Reader::read(probe.reader.slot(0).lanes[0]);
  EXPECT_EQ(live.phase, FLEXLINK_PROBE_PHASE_IDLE);
  EXPECT_EQ(live.bytesDone, 4000u);
  EXPECT_EQ(live.operations, 1u);
  EXPECT_EQ(live.totalBytes, 4000u);
  EXPECT_EQ(live.busyTicks, record.endTicks - record.startTicks);
  const FlexlinkProbeComm seen = Reader::read(probe.reader.slot(0).comm);
  EXPECT_EQ(seen.completed, 1u);
  EXPECT_EQ(seen.operations, 1u);
  EXPECT_EQ(seen.failures, 0u);
  EXPECT_EQ(seen.records, 1u);
  probe->closeComm(comm);
}

TEST(ProbeWriter, FailedOperationKeepsTheBytesItReached) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  comm->begin(0, kAllReduce);
  comm->progress(123);
  comm->end(0, 6);
  const FlexlinkProbeRecord record = Reader::read(probe.reader.record(0, 0));
  EXPECT_EQ(record.bytes, 123u);
  EXPECT_EQ(record.outcome & 0xff, 6u);
  EXPECT_EQ(Reader::read(probe.reader.slot(0).lanes[0]).totalBytes, 123u);
  EXPECT_EQ(Reader::read(probe.reader.slot(0).comm).failures, 1u);
  probe->closeComm(comm);
}

// The rank of a wait that lasts and of the longest that has ended, as in the lane.
uint64_t ranks(uint32_t now, uint32_t longest) { return now | uint64_t{longest} << 32; }

void passTime(const ProbeComm& comm, uint64_t ticks) {
  const uint64_t start = comm.ticks();
  while (comm.ticks() - start < ticks) {
  }
}

TEST(ProbeWriter, WaitIsSeenWhileItLasts) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  comm->begin(0, kAllReduce);
  const uint64_t before = comm->ticks();
  comm->waitsFor(4);
  const uint64_t after = comm->ticks();
  const FlexlinkProbeLane live = Reader::read(probe.reader.slot(0).lanes[0]);
  EXPECT_EQ(live.waitRanks, ranks(4, FLEXLINK_PROBE_NO_RANK));
  EXPECT_GE(live.waitSince, before);
  EXPECT_LE(live.waitSince, after);
  comm->waitsFor(4);
  EXPECT_EQ(Reader::read(probe.reader.slot(0).lanes[0]).waitSince, live.waitSince);
  probe->closeComm(comm);
}

TEST(ProbeWriter, LongestOfTheWaitsIsKeptUntilTheNextOperation) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  comm->begin(0, kAllReduce);
  comm->waitsFor(4);
  passTime(*comm, 1 << 24);
  comm->waitsFor(5);
  const FlexlinkProbeLane second = Reader::read(probe.reader.slot(0).lanes[0]);
  EXPECT_EQ(second.waitRanks, ranks(5, 4));
  EXPECT_GE(second.longestWait, uint64_t{1} << 24);
  EXPECT_EQ(second.waitedTicks, second.longestWait);
  comm->waitsNoMore();
  const FlexlinkProbeLane ended = Reader::read(probe.reader.slot(0).lanes[0]);
  EXPECT_EQ(ended.waitRanks, ranks(FLEXLINK_PROBE_NO_RANK, 4));
  EXPECT_GT(ended.waitedTicks, ended.longestWait);
  comm->end(0, 0);
  EXPECT_EQ(Reader::read(probe.reader.record(0, 0)).outcome,
            uint64_t{4} << 8 | ended.longestWait >> 10 << 32);
  comm->begin(1, kAllReduce);
  const FlexlinkProbeLane next = Reader::read(probe.reader.slot(0).lanes[0]);
  EXPECT_EQ(next.waitRanks, ranks(FLEXLINK_PROBE_NO_RANK, FLEXLINK_PROBE_NO_RANK));
  EXPECT_EQ(next.longestWait, 0u);
  EXPECT_EQ(next.waitedTicks, ended.waitedTicks);
  probe->closeComm(comm);
}

TEST(ProbeWriter, EndOfAnOperationEndsItsWait) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  comm->begin(0, kAllReduce);
  comm->waitsFor(6);
  passTime(*comm, 1 << 12);
  comm->end(0, 0);
  const FlexlinkProbeLane live = Reader::read(probe.reader.slot(0).lanes[0]);
  EXPECT_EQ(live.waitRanks, ranks(FLEXLINK_PROBE_NO_RANK, 6));
  const FlexlinkProbeRecord record = Reader::read(probe.reader.record(0, 0));
  EXPECT_EQ(record.outcome >> 8 & 0xffffff, 6u);
  EXPECT_EQ(live.waitedTicks, record.endTicks - live.waitSince);
  probe->closeComm(comm);
}

TEST(ProbeWriter, WaitTooLongForARecordSaturates) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  comm->begin(0, kAllReduce);
  comm->waitsFor(2);
  probe.reader.slot(0).lanes[0].waitSince = comm->ticks() - (uint64_t{1} << 50);
  comm->end(0, 0);
  EXPECT_EQ(Reader::read(probe.reader.record(0, 0)).outcome,
            uint64_t{2} << 8 | uint64_t{UINT32_MAX} << 32);
  probe->closeComm(comm);
}

TEST(ProbeWriter, OperationOnTwoLanesCountsOnceAndHasTwoRecords) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  comm->begin(0, kAllReduce, 0);
  comm->begin(0, kAllReduce, 1);
  comm->end(0, 0, 0);
  comm->begin(1, kAllReduce, 0);
  comm->end(1, 0, 0);
  comm->end(0, 0, 1);
  const FlexlinkProbeComm seen = Reader::read(probe.reader.slot(0).comm);
  EXPECT_EQ(seen.operations, 2u);
  EXPECT_EQ(seen.completed, 2u);
  EXPECT_EQ(seen.records, 3u);
  EXPECT_EQ(Reader::read(probe.reader.slot(0).lanes[0]).operations, 2u);
  EXPECT_EQ(Reader::read(probe.reader.slot(0).lanes[1]).operations, 1u);
  probe->closeComm(comm);
}

TEST(ProbeWriter, CallsThatProgressTogetherHaveARecordEachAndOneLiveState) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  comm->begin(0, {8, 7, 0, 1, 10, 40});
  FlexlinkProbeLane live = Reader::read(probe.reader.slot(0).lanes[0]);
  const uint64_t since = live.startTicks;
  comm->ended({1, since}, {9, 8, 0, 2, 20, 160}, 0);
  live = Reader::read(probe.reader.slot(0).lanes[0]);
  EXPECT_EQ(live.phase, FLEXLINK_PROBE_PHASE_STARTED);
  EXPECT_EQ(live.operations, 1u);
  comm->waitsFor(1);
  const uint64_t until = comm->ended({0, since}, {8, 7, 0, 1, 10, 40}, 6);
  comm->busy(since, until);
  comm->rest(until);
  const FlexlinkProbeRecord first = Reader::read(probe.reader.record(0, 0));
  const FlexlinkProbeRecord second = Reader::read(probe.reader.record(0, 1));
  EXPECT_EQ(first.seq, 1u);
  EXPECT_EQ(first.call, FLEXLINK_PROBE_CALL(9, 8, 0, 0, 2));
  EXPECT_EQ(first.count, 20u);
  EXPECT_EQ(first.bytes, 160u);
  EXPECT_EQ(first.outcome & 0xff, 0u);
  EXPECT_EQ(second.seq, 0u);
  EXPECT_EQ(second.bytes, 0u);
  EXPECT_EQ(second.outcome & 0xff, 6u);
  EXPECT_EQ(second.startTicks, first.startTicks);
  EXPECT_GE(second.endTicks, first.endTicks);
  live = Reader::read(probe.reader.slot(0).lanes[0]);
  EXPECT_EQ(live.phase, FLEXLINK_PROBE_PHASE_IDLE);
  EXPECT_EQ(live.operations, 2u);
  EXPECT_EQ(live.totalBytes, 160u);
  EXPECT_EQ(live.waitRanks, ranks(FLEXLINK_PROBE_NO_RANK, 1));
  EXPECT_GE(live.busyTicks, second.endTicks - second.startTicks);
  const FlexlinkProbeComm seen = Reader::read(probe.reader.slot(0).comm);
  EXPECT_EQ(seen.completed, 2u);
  EXPECT_EQ(seen.operations, 2u);
  EXPECT_EQ(seen.failures, 1u);
  probe->closeComm(comm);
}

TEST(ProbeWriter, FullRingKeepsTheLastRecords) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  const uint64_t total = FLEXLINK_PROBE_RECORDS * 2 + 3;
  for (uint64_t seq = 0; seq < total; ++seq) {
    comm->begin(seq, kAllReduce);
    comm->end(seq, 0);
  }
  EXPECT_EQ(Reader::read(probe.reader.slot(0).comm).records, total);
  for (uint64_t n = total - FLEXLINK_PROBE_RECORDS; n < total; ++n) {
    const FlexlinkProbeRecord record = Reader::read(probe.reader.record(0, n));
    EXPECT_EQ(record.version, 2 * n + 2);
    EXPECT_EQ(record.seq, n);
  }
  probe->closeComm(comm);
}

TEST(ProbeWriter, ClosedCommunicatorStaysReadableUntilItsSlotIsNeeded) {
  Probe probe;
  ProbeComm* first = probe->openComm(kInfo);
  first->begin(0, kAllReduce);
  first->end(0, 0);
  probe->closeComm(first);
  ProbeComm* second = probe->openComm(kInfo);
  FlexlinkProbeComm seen = Reader::read(probe.reader.slot(0).comm);
  EXPECT_EQ(seen.state, FLEXLINK_PROBE_STATE_CLOSED);
  EXPECT_GE(seen.closedTicks, seen.openedTicks);
  EXPECT_EQ(seen.records, 1u);
  EXPECT_EQ(Reader::read(probe.reader.slot(1).comm).generation, 1u);
  probe->closeComm(second);
}

TEST(ProbeWriter, SlotUsedAgainStartsEmptyWithANewGeneration) {
  Probe probe;
  for (uint32_t i = 0; i < FLEXLINK_PROBE_SLOTS; ++i) {
    ProbeComm* comm = probe->openComm(kInfo);
    comm->begin(0, kAllReduce);
    comm->end(0, 0);
    probe->closeComm(comm);
  }
  ProbeComm* again = probe->openComm({7, 0, 0, 2, 0, 1, "again"});
  const FlexlinkProbeComm seen = Reader::read(probe.reader.slot(0).comm);
  EXPECT_EQ(seen.generation, 2u);
  EXPECT_EQ(seen.id, 7u);
  EXPECT_STREQ(seen.name, "again");
  EXPECT_EQ(seen.records, 0u);
  EXPECT_EQ(seen.completed, 0u);
  EXPECT_EQ(seen.operations, 0u);
  EXPECT_EQ(Reader::read(probe.reader.slot(0).lanes[0]).operations, 0u);
  EXPECT_EQ(Reader::load(probe.reader.record(0, 0).version), 0u);
  again->begin(0, kAllReduce);
  again->end(0, 0);
  EXPECT_EQ(Reader::read(probe.reader.record(0, 0)).version, 2u);
  probe->closeComm(again);
}

TEST(ProbeWriter, CommunicatorBeyondTheSlotsWorksAndIsCounted) {
  Probe probe;
  std::vector<ProbeComm*> comms;
  for (uint32_t i = 0; i < FLEXLINK_PROBE_SLOTS + 1; ++i) comms.push_back(probe->openComm(kInfo));
  for (ProbeComm* comm : comms) {
    comm->begin(0, kAllReduce, 7);
    comm->end(0, 0, 7);
  }
  EXPECT_EQ(Reader::load(probe.reader.header().opened), FLEXLINK_PROBE_SLOTS + 1);
  EXPECT_EQ(Reader::load(probe.reader.header().unrecorded), 1u);
  for (uint32_t i = 0; i < FLEXLINK_PROBE_SLOTS; ++i)
    EXPECT_EQ(Reader::read(probe.reader.slot(static_cast<int>(i)).comm).records, 1u);
  for (ProbeComm* comm : comms) probe->closeComm(comm);
}

TEST(ProbeWriter, NameLongerThanItsFieldIsCut) {
  Probe probe;
  const std::string name(FLEXLINK_PROBE_NAME_BYTES + 10, 'n');
  ProbeComm* comm = probe->openComm({1, 0, 0, 1, 0, 1, name.c_str()});
  const FlexlinkProbeComm seen = Reader::read(probe.reader.slot(0).comm);
  EXPECT_EQ(std::string(seen.name, sizeof(seen.name)), name.substr(0, sizeof(seen.name)));
  EXPECT_EQ(seen.reserved0, 0u);
  probe->closeComm(comm);
}

TEST(ProbeWriter, ClockPairTurnsTicksIntoThisHostsTime) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  ProbeComm* refreshes = probe->openComm(kInfo);
  const FlexlinkProbeClock clock = Reader::read(probe.reader.header().clock);
  ASSERT_GT(clock.lastTicks, clock.firstTicks);
  const double tick = static_cast<double>(clock.lastNs - clock.firstNs) /
                      static_cast<double>(clock.lastTicks - clock.firstTicks);
  const auto before = static_cast<double>(nowNanos());
  const double now = static_cast<double>(comm->ticks() - clock.lastTicks) * tick +
                     static_cast<double>(clock.lastNs);
  const auto after = static_cast<double>(nowNanos());
  EXPECT_GE(now, before - 1e6);
  EXPECT_LE(now, after + 1e6);
  probe->closeComm(refreshes);
  probe->closeComm(comm);
}

TEST(ProbeWriter, ClockPairIsRefreshedNowAndThenByTheEndOfAnOperation) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  const auto refreshed = [&](uint64_t seq) {
    comm->begin(seq, kAllReduce);
    comm->end(seq, 0);
    return Reader::read(probe.reader.header().clock).lastNs;
  };
  const uint64_t first = refreshed(0);
  const uint64_t second = refreshed(1);
  passTime(*comm, uint64_t{1} << 29);
  const uint64_t third = refreshed(2);
  EXPECT_EQ(second, first);
  EXPECT_GT(third, second);
  probe->closeComm(comm);
}

TEST(ProbeWriter, ThreadsWithACommunicatorEachDoNotMix) {
  Probe probe;
  constexpr uint64_t kOperations = 20000;
  std::vector<ProbeComm*> comms(4);
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < 4; ++rank) {
    threads.emplace_back([&probe, &comms, rank] {
      ProbeComm* comm = comms[rank] = probe->openComm({1, 0, rank, 4, 0, 1, "threads"});
      for (uint64_t n = 0; n < kOperations; ++n) {
        comm->begin(n, {0, 7, 0, -1, rank, rank});
        comm->end(n, 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 4; ++i) {
    const FlexlinkProbeComm seen = Reader::read(probe.reader.slot(i).comm);
    EXPECT_EQ(seen.records, kOperations);
    const auto rank = static_cast<uint32_t>(seen.rankAndRanks);
    EXPECT_EQ(Reader::read(probe.reader.slot(i).lanes[0]).totalBytes, rank * kOperations);
    EXPECT_EQ(Reader::read(probe.reader.record(i, kOperations - 1)).count, rank);
  }
  for (ProbeComm* comm : comms) probe->closeComm(comm);
}

int64_t threadCpuNanos() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// The budget is 40 ns; the bound here only catches a lock or a system call, also with sanitizers.
TEST(ProbeWriter, OperationCostsNoSystemCall) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  constexpr int kOperations = 50000;
  int64_t best = INT64_MAX;
  for (int round = 0; round < 5; ++round) {
    const int64_t start = threadCpuNanos();
    for (uint64_t n = 0; n < kOperations; ++n) {
      comm->begin(n, kAllReduce);
      comm->end(n, 0);
    }
    best = std::min(best, threadCpuNanos() - start);
  }
  RecordProperty("ns_per_operation", static_cast<int>(best / kOperations));
  std::printf("begin + end: %.1f ns\n", static_cast<double>(best) / kOperations);
  EXPECT_LT(best / kOperations, 10000);
  probe->closeComm(comm);
}

}  // namespace
}  // namespace flexlink
