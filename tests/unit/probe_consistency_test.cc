// SPDX-License-Identifier: Apache-2.0
// A reader beside a running writer sees states of one piece: by chance, with threads, and by force,
// after every single instruction.
#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

#include "probe/probe_writer.h"
#include "probe_support.h"

namespace flexlink {
namespace {

using probetest::Probe;
using probetest::Reader;

const ProbeCommInfo kInfo{0xabcdef, 0x12, 3, 8, 1, 2, "world"};

// Every field of operation n is a function of n, so that a mixture of two is found.
void writeOperation(ProbeComm* comm, uint64_t n) {
  comm->begin(n, {static_cast<uint8_t>(n), 7, 0, static_cast<int32_t>(n), 2 * n, 3 * n});
  comm->waitsFor(static_cast<int>(n % 1000));
  comm->end(n, 0);
}

// Writes operations until the test has seen enough.
std::jthread writeUntilStopped(ProbeComm* comm) {
  return std::jthread([comm](const std::stop_token& stop) {
    for (uint64_t n = 0; !stop.stop_requested(); ++n) writeOperation(comm, n);
  });
}

constexpr uint64_t kEnough = 20000;  // readings that were of one piece

TEST(ProbeConsistency, ConcurrentReaderNeverSeesAMixtureOfTwoLiveStates) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  std::jthread writer = writeUntilStopped(comm);
  FlexlinkProbeLane last{};
  for (uint64_t whole = 0; whole < kEnough;) {
    FlexlinkProbeLane live;
    const bool one = Reader::tryRead(probe.reader.slot(0).lanes[0], &live);
    if (!one || live.startTicks == 0) continue;
    ++whole;
    ASSERT_EQ(live.call, FLEXLINK_PROBE_CALL(live.seq, 7, 0, 0, live.seq));
    ASSERT_EQ(live.count, 2 * live.seq);
    ASSERT_EQ(live.bytes, 3 * live.seq);
    // The start is stored last, and no two operations start at the same tick.
    if (whole > 1) {
      ASSERT_EQ(live.startTicks == last.startTicks, live.seq == last.seq);
    }
    last = live;
  }
  writer.request_stop();
  writer.join();
  probe->closeComm(comm);
}

TEST(ProbeConsistency, ConcurrentReaderNeverSeesAMixtureOfTwoRecords) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  std::jthread writer = writeUntilStopped(comm);
  for (uint64_t whole = 0; whole < kEnough;) {
    const uint64_t written = Reader::load(probe.reader.slot(0).comm.records);
    FlexlinkProbeRecord record;  // the place that is written next
    if (!Reader::tryRead(probe.reader.record(0, written), &record) || record.version == 0) continue;
    ++whole;
    const uint64_t n = record.version / 2 - 1;
    ASSERT_EQ(record.seq, n);
    ASSERT_EQ(record.count, 2 * n);
    ASSERT_EQ(record.bytes, 3 * n);
    ASSERT_EQ(record.outcome & UINT32_MAX, (n % 1000) << 8);
  }
  writer.request_stop();
  writer.join();
  probe->closeComm(comm);
}

#if defined(__x86_64__)
// What threads hardly ever catch: the processor stops after each instruction of the writer (trap
// flag), and the file must be of one piece, or say that it is not, at every one of them.
struct Steps {
  const FlexlinkProbeSlot* slot = nullptr;
  const FlexlinkProbeRecord* record = nullptr;
  uint64_t seen = 0;
  uint64_t odd = 0;
  uint64_t mixtures = 0;
  uint64_t seq = 0, start = 0;  // of the live state seen last
};
Steps steps;

void checkStep(int) {
  ++steps.seen;
  FlexlinkProbeLane live;
  if (Reader::tryRead(steps.slot->lanes[0], &live)) {
    const bool one = live.count == 2 * live.seq && live.bytes == 3 * live.seq;
    const bool sameStart = live.startTicks == steps.start;
    if (!one || (steps.seq == live.seq) != sameStart) ++steps.mixtures;
    steps.seq = live.seq;
    steps.start = live.startTicks;
  } else {
    ++steps.odd;
  }
  FlexlinkProbeRecord record;
  if (Reader::tryRead(*steps.record, &record)) {
    const uint64_t n = record.version / 2 - 1;
    const bool one = record.seq == n && record.count == 2 * n && record.bytes == 3 * n &&
                     (record.outcome & UINT32_MAX) == (n % 1000) << 8;
    if (!one || record.endTicks < record.startTicks) ++steps.mixtures;
  } else {
    ++steps.odd;
  }
}

// Past the red zone, which belongs to the function that this is inlined into.
__attribute__((always_inline)) inline void trapEachInstruction(bool on) {
  if (on) {
    asm volatile(
        "lea -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::
            : "memory", "cc");
  } else {
    asm volatile(
        "lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::
            : "memory", "cc");
  }
}

TEST(ProbeConsistency, FileIsOfOnePieceOrSaysNotAfterEveryInstruction) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  for (uint64_t n = 0; n < FLEXLINK_PROBE_RECORDS; ++n) writeOperation(comm, n);
  const FlexlinkProbeLane live = Reader::read(probe.reader.slot(0).lanes[0]);
  const uint64_t next = FLEXLINK_PROBE_RECORDS;
  steps = {&probe.reader.slot(0), &probe.reader.record(0, next), 0, 0, 0, live.seq,
           live.startTicks};
  struct sigaction handler {};
  struct sigaction before {};
  handler.sa_handler = checkStep;
  ASSERT_EQ(::sigaction(SIGTRAP, &handler, &before), 0);
  trapEachInstruction(true);
  writeOperation(comm, next);
  trapEachInstruction(false);
  ::sigaction(SIGTRAP, &before, nullptr);
  EXPECT_EQ(steps.mixtures, 0u);
  EXPECT_GT(steps.odd, 0u);
  EXPECT_GT(steps.seen, 50u);
  EXPECT_EQ(Reader::read(probe.reader.record(0, next)).seq, next);
  probe->closeComm(comm);
}
#endif

}  // namespace
}  // namespace flexlink
