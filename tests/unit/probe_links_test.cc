// SPDX-License-Identifier: Apache-2.0
// The table of links in the probe file: what is written, who owns which place, how often, and what
// a reader beside the writer sees.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <set>
#include <string>
#include <thread>

#include "base/clock.h"
#include "probe/probe_file.h"
#include "probe/probe_writer.h"
#include "probe_support.h"

namespace flexlink {
namespace {

using probetest::Folder;
using probetest::killedWriter;
using probetest::Probe;
using probetest::Reader;

const ProbeCommInfo kInfo{0xabcdef, 0x12, 3, 8, 1, 2, "world"};

ProbeLinkInfo used(const char* name, uint64_t bytesOut) {
  ProbeLinkInfo info;
  info.name = name;
  info.host = "node7";
  info.peer = 5;
  info.peerHost = 2;
  info.bytesOut = bytesOut;
  info.bytesIn = 2 * bytesOut;
  info.replays = 3;
  info.bytesPerSecond = 125'000'000;
  info.latencyNanos = 45'000;
  return info;
}

TEST(ProbeLinks, LinkIsWrittenWordByWord) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  const uint64_t before = comm->ticks();
  comm->link(0, used("tcp:eth0", 1000));
  const FlexlinkProbeLink seen = Reader::read(probe.reader.link(0));
  EXPECT_EQ(seen.owner, 0u | uint64_t{1} << 32);
  EXPECT_EQ(seen.peer, 5u | uint64_t{2} << 32);
  EXPECT_EQ(seen.index, 0u);
  EXPECT_EQ(seen.state, FLEXLINK_PROBE_LINK_USED);
  EXPECT_EQ(seen.bytesOut, 1000u);
  EXPECT_EQ(seen.bytesIn, 2000u);
  EXPECT_EQ(seen.replays, 3u);
  EXPECT_EQ(seen.bytesPerSecond, 125'000'000u);
  EXPECT_EQ(seen.latencyNanos, 45'000u);
  EXPECT_STREQ(seen.name, "tcp:eth0");
  EXPECT_STREQ(seen.host, "node7");
  EXPECT_STREQ(seen.why, "");
  EXPECT_GE(seen.sinceTicks, before);
  EXPECT_EQ(seen.writtenTicks, seen.sinceTicks);
  EXPECT_EQ(probe.reader.header().linksTaken, 1u);
  EXPECT_EQ(Reader::read(probe.reader.link(1)).state, FLEXLINK_PROBE_LINK_FREE);
  probe->closeComm(comm);
}

TEST(ProbeLinks, StateHasTheTimeOfItsLastChange) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  comm->link(0, used("tcp:eth0", 1));
  const FlexlinkProbeLink first = Reader::read(probe.reader.link(0));
  comm->link(0, used("tcp:eth0", 2));
  const FlexlinkProbeLink second = Reader::read(probe.reader.link(0));
  EXPECT_EQ(second.sinceTicks, first.sinceTicks);
  EXPECT_GT(second.writtenTicks, first.writtenTicks);
  ProbeLinkInfo left = used("tcp:eth0", 2);
  left.state = ProbeLinkState::kLeft;
  left.why = "silent for 412 ms while the peer answers elsewhere";
  comm->link(0, left);
  const FlexlinkProbeLink third = Reader::read(probe.reader.link(0));
  EXPECT_EQ(third.state, FLEXLINK_PROBE_LINK_LEFT);
  EXPECT_EQ(third.sinceTicks, third.writtenTicks);
  EXPECT_STREQ(third.why, "silent for 412 ms while the peer answers elsewhere");
  probe->closeComm(comm);
}

TEST(ProbeLinks, LongTextIsCutAndAShorterOneLeavesNothingOfIt) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  const std::string text(200, 'x');
  ProbeLinkInfo info = used(text.c_str(), 1);
  info.host = info.why = text.c_str();
  comm->link(0, info);
  FlexlinkProbeLink seen = Reader::read(probe.reader.link(0));
  EXPECT_EQ(std::string(seen.name, sizeof seen.name), std::string(32, 'x'));
  EXPECT_EQ(std::string(seen.host, sizeof seen.host), std::string(32, 'x'));
  EXPECT_EQ(std::string(seen.why, sizeof seen.why), std::string(88, 'x'));
  info = used("tcp:eth0", 1);
  info.why = "y";
  comm->link(0, info);
  seen = Reader::read(probe.reader.link(0));
  EXPECT_EQ(std::string(seen.name, sizeof seen.name), "tcp:eth0" + std::string(24, '\0'));
  EXPECT_EQ(std::string(seen.why, sizeof seen.why), "y" + std::string(87, '\0'));
  probe->closeComm(comm);
}

TEST(ProbeLinks, CommunicatorsHavePlacesOfTheirOwnUntilTheyClose) {
  Probe probe;
  ProbeComm* first = probe->openComm(kInfo);
  ProbeComm* second = probe->openComm(kInfo);
  for (uint32_t i = 0; i < 3; ++i) {
    first->link(i, used("tcp:a", i));
    second->link(i, used("tcp:b", i));
  }
  std::set<uint64_t> owners;
  for (int place = 0; place < 6; ++place) {
    const FlexlinkProbeLink seen = Reader::read(probe.reader.link(place));
    const bool isSecond = static_cast<uint32_t>(seen.owner) == 1;
    EXPECT_STREQ(seen.name, isSecond ? "tcp:b" : "tcp:a");
    owners.insert(seen.owner << 8 | seen.index);
  }
  EXPECT_EQ(owners.size(), 6u);
  probe->closeComm(first);
  // What is closed stays readable: unused places go first.
  second->link(3, used("tcp:b", 3));
  EXPECT_STREQ(Reader::read(probe.reader.link(0)).name, "tcp:a");
  EXPECT_STREQ(Reader::read(probe.reader.link(6)).name, "tcp:b");
  probe->closeComm(second);
}

TEST(ProbeLinks, FullTableCountsWhatItDoesNotShowAndClosingMakesRoom) {
  Probe probe;
  ProbeComm* full = probe->openComm(kInfo);
  for (uint32_t i = 0; i < FLEXLINK_PROBE_LINKS; ++i) full->link(i, used("tcp:full", i));
  full->link(FLEXLINK_PROBE_LINKS, used("tcp:beyond", 1));
  full->link(UINT32_MAX, used("tcp:beyond", 1));
  EXPECT_EQ(probe.reader.header().linksTaken, FLEXLINK_PROBE_LINKS);
  ProbeComm* late = probe->openComm(kInfo);
  late->link(0, used("tcp:late", 1));
  late->link(0, used("tcp:late", 2));
  EXPECT_EQ(probe.reader.header().unrecordedLinks, 1u);
  EXPECT_EQ(Reader::read(probe.reader.link(FLEXLINK_PROBE_LINKS - 1)).bytesOut,
            FLEXLINK_PROBE_LINKS - 1);
  probe->closeComm(full);
  ProbeComm* next = probe->openComm(kInfo);
  next->link(0, used("tcp:next", 1));
  const FlexlinkProbeLink seen = Reader::read(probe.reader.link(0));
  EXPECT_STREQ(seen.name, "tcp:next");
  EXPECT_EQ(seen.owner, 2u | uint64_t{1} << 32);
  probe->closeComm(late);
  probe->closeComm(next);
}

TEST(ProbeLinks, ReopenedSlotOwnsItsLinksUnderANewGeneration) {
  Probe probe;
  for (unsigned i = 0; i < FLEXLINK_PROBE_SLOTS; ++i) probe->closeComm(probe->openComm(kInfo));
  ProbeComm* again = probe->openComm(kInfo);
  again->link(0, used("tcp:eth0", 1));
  EXPECT_EQ(Reader::read(probe.reader.link(0)).owner, 0u | uint64_t{2} << 32);
  probe->closeComm(again);
}

TEST(ProbeLinks, LinksAreDueAtOnceAndThenAboutAHundredTimesASecond) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  EXPECT_TRUE(comm->linksDue());
  int due = 0;
  const int64_t start = nowNanos();
  while (nowNanos() - start < 200'000'000) due += comm->linksDue() ? 1 : 0;
  EXPECT_GE(due, 1);
  EXPECT_LE(due, 200);
  probe->closeComm(comm);
}

TEST(ProbeLinks, UnseenCommunicatorIsNeverDueAndWritesNothing) {
  Probe probe;
  ProbeComm* comm = probe->openUnseen();
  EXPECT_FALSE(comm->linksDue());
  comm->link(0, used("tcp:eth0", 1));
  EXPECT_EQ(probe.reader.header().linksTaken, 0u);
  EXPECT_EQ(probe.reader.header().unrecordedLinks, 0u);
  probe->closeComm(comm);
}

TEST(ProbeLinks, ConcurrentReaderNeverSeesAMixtureOfTwoLinks) {
  Probe probe;
  ProbeComm* comm = probe->openComm(kInfo);
  std::jthread writer([&](const std::stop_token& stop) {
    for (uint64_t n = 1; !stop.stop_requested(); ++n) {
      const std::string name(1 + n % 31, static_cast<char>('a' + n % 26));
      comm->link(0, used(name.c_str(), n));
    }
  });
  for (int whole = 0; whole < 20000;) {
    FlexlinkProbeLink seen;
    if (!Reader::tryRead(probe.reader.link(0), &seen) || seen.state == 0) continue;
    ++whole;
    const uint64_t n = seen.bytesOut;
    ASSERT_EQ(seen.bytesIn, 2 * n);
    ASSERT_EQ(std::string(seen.name), std::string(1 + n % 31, static_cast<char>('a' + n % 26)));
  }
  writer.request_stop();
  writer.join();
  probe->closeComm(comm);
}

TEST(ProbeLinks, DeadProcesssFileKeepsItsLinksAndGivesTheOthersSpaceBack) {
  Folder folder;
  const std::string dead = killedWriter(folder.path(), [](ProbeWriter& writer) {
    ProbeComm* comm = writer.openComm(kInfo);
    comm->link(0, used("tcp:eth0", 7));
    comm->link(1, used("tcp:eth1", 8));
  });
  ASSERT_TRUE(ProbeFile::create(folder.path()).ok());
  struct stat status {};
  ASSERT_EQ(::stat(dead.c_str(), &status), 0);
  EXPECT_LT(status.st_blocks * 512, static_cast<off_t>(FLEXLINK_PROBE_FILE_BYTES / 2));
  const Reader reader(dead);
  EXPECT_EQ(Reader::read(reader.link(0)).bytesOut, 7u);
  EXPECT_STREQ(Reader::read(reader.link(1)).name, "tcp:eth1");
}

}  // namespace
}  // namespace flexlink
