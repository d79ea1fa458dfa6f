// SPDX-License-Identifier: Apache-2.0
// Where probe files go, who may be there, and which of them are removed.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "base/settings.h"
#include "probe/probe_file.h"
#include "probe/process_id.h"
#include "probe/run_folder.h"
#include "probe_support.h"

namespace flexlink {
namespace {

using probetest::Folder;
using probetest::Reader;

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kNow = 1'000'000 * kSecond;

std::string textOf(const Result<Fd>& folder) { return folder.status().text(); }

// Runs `work` in a child process and returns what waitpid says.
int inChild(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

TEST(RunFolder, SettingIsPreferredAndLosesTrailingSlashes) {
  EXPECT_EQ(chooseRunFolder({"/a/b//", "/run/user/7", true, 7}), "/a/b");
}

TEST(RunFolder, OwnXdgFolderIsNext) {
  EXPECT_EQ(chooseRunFolder({"", "/run/user/7", true, 7}), "/run/user/7/flexlink");
}

TEST(RunFolder, SomebodyElsesOrRelativeXdgFolderIsPassedOver) {
  EXPECT_EQ(chooseRunFolder({"", "/run/user/8", false, 7}), "/dev/shm/flexlink-7");
  EXPECT_EQ(chooseRunFolder({"", "run", true, 7}), "/dev/shm/flexlink-7");
}

TEST(RunFolder, MissingFolderIsMadeForThisUserOnly) {
  Folder parent;
  const std::string path = parent.path() + "/run";
  ASSERT_TRUE(openRunFolder(path).ok());
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
}

TEST(RunFolder, FolderThatOthersMayEnterIsRefused) {
  Folder folder;
  ASSERT_EQ(::chmod(folder.path().c_str(), 0710), 0);
  EXPECT_EQ(textOf(openRunFolder(folder.path())),
            folder.path() + " has mode 0710, so others may enter it; chmod 700 it");
}

TEST(RunFolder, LinkIsRefused) {
  Folder folder;
  const std::string link = folder.path() + "/link";
  ASSERT_EQ(::symlink(folder.path().c_str(), link.c_str()), 0);
  EXPECT_EQ(textOf(openRunFolder(link)),
            "open " + link + " as a folder, not through a link: Not a directory");
}

TEST(RunFolder, SomebodyElsesFolderIsRefused) {
  Folder folder;
  // Root gives one away; everybody else finds that / is root's.
  std::string path = "/";
  uint32_t owner = 0;
  if (::geteuid() == 0) {
    path = folder.path();
    owner = 4711;
    ASSERT_EQ(::chown(path.c_str(), owner, owner), 0);
  }
  EXPECT_EQ(textOf(openRunFolder(path)), path + " belongs to user " + std::to_string(owner) +
                                             ", not to user " + std::to_string(::geteuid()));
}

TEST(RunFolder, MissingParentIsAnErrorThatNamesThePath) {
  EXPECT_EQ(textOf(openRunFolder("/nonexistent/run")),
            "mkdir /nonexistent/run: No such file or directory");
}

TEST(StaleFiles, LivingProcessKeepsItsFileForEver) {
  EXPECT_TRUE(staleFiles({{"a", Liveness::kAlive, 0, 100}}, {kNow, 0}).empty());
}

TEST(StaleFiles, DeadProcessKeepsItsFileForAnHour) {
  const std::vector<FoundFile> files{{"old", Liveness::kDead, kNow - 3601 * kSecond, 1},
                                     {"new", Liveness::kDead, kNow - 3600 * kSecond, 1}};
  EXPECT_EQ(staleFiles(files, {kNow, 100}), std::vector<std::string>{"old"});
}

TEST(StaleFiles, UnknownProcessKeepsItsFileForAWeekOfSilence) {
  const uint64_t week = 7 * 24 * 3600 * kSecond;
  const std::vector<FoundFile> files{{"old", Liveness::kUnknown, 1, 1},
                                     {"new", Liveness::kUnknown, 2, 1}};
  EXPECT_EQ(staleFiles(files, {week + 2, 0}), std::vector<std::string>{"old"});
}

TEST(StaleFiles, LimitOfBytesTakesTheOldestOfTheDead) {
  const std::vector<FoundFile> files{{"1", Liveness::kDead, kNow - 3, 40},
                                     {"2", Liveness::kDead, kNow - 2, 40},
                                     {"3", Liveness::kDead, kNow - 1, 40},
                                     {"4", Liveness::kAlive, kNow, 400}};
  EXPECT_EQ(staleFiles(files, {kNow, 80}), std::vector<std::string>{"1"});
  EXPECT_EQ(staleFiles(files, {kNow, 0}), (std::vector<std::string>{"3", "2", "1"}));
}

TEST(StaleFiles, LimitOfFilesIs256) {
  std::vector<FoundFile> files;
  for (uint64_t i = 0; i < 300; ++i)
    files.push_back({std::to_string(i), Liveness::kDead, kNow - i, 1});
  const std::vector<std::string> stale = staleFiles(files, {kNow, 1000});
  ASSERT_EQ(stale.size(), 44u);
  EXPECT_EQ(stale.front(), "256");
  EXPECT_EQ(stale.back(), "299");
}

TEST(ProcessId, StartTimeIsFoundBehindANameWithParentheses) {
  EXPECT_EQ(startTimeOfStat("12 (a) R (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20"),
            777u);
}

TEST(ProcessId, EndedOrBrokenStatHasNoStartTime) {
  EXPECT_EQ(startTimeOfStat("12 (a) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20"), 0u);
  EXPECT_EQ(startTimeOfStat("12 (a) S 1 2 3"), 0u);
  EXPECT_EQ(startTimeOfStat(""), 0u);
}

TEST(ProcessId, BootIdIsAUuidOrZero) {
  const std::array<uint8_t, 16> id = bootIdOfText("00112233-4455-6677-8899-aabbccddeeff\n");
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(id[i], i * 0x11);
  EXPECT_EQ(bootIdOfText("00112233"), (std::array<uint8_t, 16>{}));
  EXPECT_EQ(bootIdOfText("00112233-4455-6677-8899-aabbccddeeff00"), (std::array<uint8_t, 16>{}));
  EXPECT_EQ(bootIdOfText("xx112233-4455-6677-8899-aabbccddeeff"), (std::array<uint8_t, 16>{}));
}

TEST(ProcessId, LivenessFollowsPidStartTimeBootAndNamespace) {
  const ProcessId self = thisProcess();
  EXPECT_EQ(livenessOf(self, self), Liveness::kAlive);
  ProcessId other = self;
  other.startTime += 1;
  EXPECT_EQ(livenessOf(other, self), Liveness::kDead);
  other = self;
  other.bootId[0] ^= 1;
  EXPECT_EQ(livenessOf(other, self), Liveness::kDead);
  other = self;
  other.pidNamespace += 1;
  EXPECT_EQ(livenessOf(other, self), Liveness::kUnknown);
}

TEST(ClockSource, OnlySourcesMadeFromTheCounterSpeakForIt) {
  EXPECT_TRUE(clockSourceTrustsCounter("tsc"));
  EXPECT_TRUE(clockSourceTrustsCounter("kvm-clock"));
  EXPECT_FALSE(clockSourceTrustsCounter("hpet"));
  EXPECT_FALSE(clockSourceTrustsCounter(""));
}

TEST(ProbeFile, HeaderNamesTheProcess) {
  Folder folder;
  auto file = ProbeFile::create(folder.path());
  ASSERT_TRUE(file.ok()) << file.status().text();
  const FlexlinkProbeHeader& header = file.value().header();
  const ProcessId self = thisProcess();
  EXPECT_EQ(header.magic, FLEXLINK_PROBE_MAGIC);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(&header.magic), 8), "FLXPROBE");
  EXPECT_EQ(header.pid, static_cast<uint32_t>(::getpid()));
  EXPECT_EQ(header.uid, ::geteuid());
  EXPECT_EQ(header.startTime, self.startTime);
  EXPECT_EQ(file.value().path(), folder.path() + "/probe-" + std::to_string(self.pid) + "-" +
                                     std::to_string(self.startTime) + ".flx");
  struct stat status {};
  ASSERT_EQ(::stat(file.value().path().c_str(), &status), 0);
  EXPECT_EQ(status.st_size, static_cast<off_t>(FLEXLINK_PROBE_FILE_BYTES));
  EXPECT_GE(status.st_blocks * 512, static_cast<off_t>(FLEXLINK_PROBE_FILE_BYTES));
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST(ProbeFile, SecondWriterOfOneProcessGetsAFileOfItsOwn) {
  Folder folder;
  auto first = ProbeFile::create(folder.path());
  auto second = ProbeFile::create(folder.path());
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE(first.value().path(), second.value().path());
  EXPECT_EQ(folder.files(), 2u);
}

TEST(ProbeFile, SpaceThatCannotBeReservedIsAnErrorAndLeavesNoFile) {
  Folder folder;
  const int status = inChild([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    auto file = ProbeFile::create(folder.path());
    const std::string wanted = "reserve 1396736 bytes in " + folder.path() + ": File too large";
    return !file.ok() && file.status().text() == wanted ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(folder.files(), 0u);
}

// A child that writes one operation, says so, and waits to be killed. Returns the file's path.
std::string killedWriter(const std::string& folder) {
  return probetest::killedWriter(folder, [](ProbeWriter& writer) {
    ProbeComm* comm = writer.openComm({42, 0, 1, 2, 0, 1, "killed"});
    comm->begin(0, {0, 7, 0, -1, 3, 12});
    comm->end(0, 0);
    comm->begin(1, {0, 7, 0, -1, 5, 20});
  });
}

TEST(ProbeFile, KilledProcessLeavesAReadableFile) {
  Folder folder;
  const Reader reader(killedWriter(folder.path()));
  EXPECT_EQ(reader.header().magic, FLEXLINK_PROBE_MAGIC);
  EXPECT_EQ(Reader::read(reader.slot(0).comm).id, 42u);
  EXPECT_EQ(Reader::read(reader.record(0, 0)).count, 3u);
  const FlexlinkProbeLane live = Reader::read(reader.slot(0).lanes[0]);
  EXPECT_EQ(live.seq, 1u);
  EXPECT_EQ(live.phase, FLEXLINK_PROBE_PHASE_STARTED);
}

TEST(ProbeFile, NextWriterNotesADeadProcessAndKeepsItsFile) {
  Folder folder;
  const std::string dead = killedWriter(folder.path());
  ASSERT_TRUE(ProbeFile::create(folder.path()).ok());
  {
    const Reader reader(dead);
    const uint64_t noted = reader.header().goneUnixNs;
    EXPECT_GT(noted, reader.header().createdUnixNs);
    ASSERT_TRUE(ProbeFile::create(folder.path()).ok());
    EXPECT_EQ(reader.header().goneUnixNs, noted);
  }
  EXPECT_EQ(folder.files(), 3u);
}

TEST(ProbeFile, DeadProcesssFileKeepsOnlyThePagesThatItUsed) {
  Folder folder;
  const std::string dead = killedWriter(folder.path());
  ASSERT_TRUE(ProbeFile::create(folder.path()).ok());
  struct stat status {};
  ASSERT_EQ(::stat(dead.c_str(), &status), 0);
  EXPECT_EQ(status.st_size, static_cast<off_t>(FLEXLINK_PROBE_FILE_BYTES));
  // With pages of 4 KiB it is 24 KiB: the header, the page of slot 0, ring 0.
  EXPECT_LT(status.st_blocks * 512, static_cast<off_t>(FLEXLINK_PROBE_FILE_BYTES / 2));
  const Reader reader(dead);
  EXPECT_EQ(Reader::read(reader.slot(0).comm).id, 42u);
  EXPECT_EQ(Reader::read(reader.slot(0).lanes[0]).count, 5u);
  EXPECT_EQ(Reader::read(reader.record(0, 0)).count, 3u);
  EXPECT_EQ(Reader::load(reader.slot(1).comm.generation), 0u);
}

TEST(ProbeFile, FileOfAProcessThatIsLongDeadIsRemovedByTheNextWriter) {
  Folder folder;
  const std::string dead = killedWriter(folder.path());
  Reader(dead).header().goneUnixNs = kSecond;  // 1970
  ASSERT_TRUE(ProbeFile::create(folder.path()).ok());
  EXPECT_NE(::access(dead.c_str(), F_OK), 0);
  EXPECT_EQ(folder.files(), 1u);
}

TEST(ProbeFile, FullClearingTakesTheDeadAndLeavesTheLivingAndStrangers) {
  Folder folder;
  const std::string dead = killedWriter(folder.path());
  auto living = ProbeFile::create(folder.path());
  ASSERT_TRUE(living.ok());
  const std::string garbage = folder.path() + "/probe-1-1.flx";
  std::ofstream(garbage) << "not a probe";
  const std::string stranger = folder.path() + "/notes.txt";
  std::ofstream(stranger) << "mine";
  auto opened = openRunFolder(folder.path());
  ASSERT_TRUE(opened.ok());
  clearRunFolder(opened.value().get(), thisProcess(), true);
  EXPECT_NE(::access(dead.c_str(), F_OK), 0);
  EXPECT_NE(::access(garbage.c_str(), F_OK), 0);
  EXPECT_EQ(::access(living.value().path().c_str(), F_OK), 0);
  EXPECT_EQ(::access(stranger.c_str(), F_OK), 0);
}

// Each in a fresh process: ProbeWriter::process() and the settings are made once.
class ProcessProbeDeathTest : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

int operationsAfterFork() {
  Folder folder;
  ::setenv("FLEXLINK_RUN_DIR", folder.path().c_str(), 1);
  settingsReload();
  ProbeWriter* writer = ProbeWriter::process();
  ProbeComm* comm = writer->openComm({1, 0, 0, 2, 0, 1, "parent"});
  const int status = inChild([&] {
    comm->begin(0, {0, 7, 0, -1, 1, 4});
    comm->end(0, 0);
    ProbeComm* own = ProbeWriter::process()->openComm({2, 0, 0, 2, 0, 1, "child"});
    own->begin(0, {0, 7, 0, -1, 1, 4});
    own->end(0, 0);
    ProbeWriter::process()->closeComm(own);
    ProbeWriter::process()->closeComm(comm);
    return 0;
  });
  if (status != 0) return 1;
  const Reader reader(writer->path());
  const bool untouched = Reader::read(reader.slot(0).comm).records == 0 &&
                         Reader::read(reader.slot(0).comm).closedTicks == 0 &&
                         Reader::load(reader.header().opened) == 1;
  return untouched ? 0 : 2;
}

TEST_F(ProcessProbeDeathTest, ForkedChildNeitherCrashesNorWritesIntoItsParentsFile) {
  EXPECT_EXIT(std::_Exit(operationsAfterFork()), testing::ExitedWithCode(0), "");
}

int operationsWhenOff(const char* name, const char* value) {
  ::setenv(name, value, 1);
  settingsReload();
  ProbeWriter* writer = ProbeWriter::process();
  if (!writer->path().empty()) return 1;
  ProbeComm* comm = writer->openComm({1, 0, 0, 2, 0, 1, "off"});
  comm->state(ProbeState::kReady);
  for (uint64_t n = 0; n < 1000; ++n) {
    comm->entered(n);
    comm->begin(n, {0, 7, 0, -1, 1, 4}, 255);
    comm->waitsFor(1, 255);
    comm->waitsNoMore(255);
    comm->end(n, 0, 255);
  }
  writer->closeComm(comm);
  return 0;
}

TEST_F(ProcessProbeDeathTest, SwitchedOffProbeTakesEveryCall) {
  EXPECT_EXIT(std::_Exit(operationsWhenOff("FLEXLINK_PROBE", "0")), testing::ExitedWithCode(0), "");
}

TEST_F(ProcessProbeDeathTest, FolderThatCannotBeUsedSwitchesTheProbeOff) {
  EXPECT_EXIT(std::_Exit(operationsWhenOff("FLEXLINK_RUN_DIR", "/proc/no")),
              testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace flexlink
