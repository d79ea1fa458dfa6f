// SPDX-License-Identifier: Apache-2.0
// The log: levels, subsystems, files, line format, whole lines from many threads.
#include <errno.h>
#include <gtest/gtest.h>
#include <time.h>

#include <chrono>
#include <set>
#include <thread>

#include "base_support.h"

namespace flexlink {
namespace {

using test::CleanEnvironment;
using test::lines;
using test::readAll;

class BaseLog : public ::testing::Test {
 protected:
  CleanEnvironment environment;

  // Starts logging into a file and returns its path.
  std::string logTo(const std::string& level, const std::string& subsystems = "") {
    const std::string path = environment.folder.file("log");
    environment.set("NCCL_DEBUG", level);
    environment.set("NCCL_DEBUG_SUBSYS", subsystems);
    environment.set("NCCL_DEBUG_FILE", path);
    logReset();
    return path;
  }
};

bool infoEnabled(LogSubsystem subsystem) { return logEnabled(LogLevel::kInfo, subsystem); }

TEST_F(BaseLog, NothingSetPrintsNothing) {
  testing::internal::CaptureStdout();
  FLEXLINK_WARN("warn");
  FLEXLINK_INFO(kInit, "info");
  logMessage(LogLevel::kVersion, LogSubsystem::kAll, __FILE__, __LINE__, "version");
  logMessage(LogLevel::kNone, LogSubsystem::kAll, __FILE__, __LINE__, "none");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
}

TEST_F(BaseLog, DisabledLineDoesNotEvaluateItsArguments) {
  int evaluated = 0;
  FLEXLINK_INFO(kInit, "%d", ++evaluated);
  EXPECT_EQ(evaluated, 0);
}

TEST_F(BaseLog, LevelsAreCaseInsensitiveAndInclude) {
  logTo("info");
  EXPECT_TRUE(logEnabled(LogLevel::kVersion, LogSubsystem::kAll));
  EXPECT_TRUE(logEnabled(LogLevel::kWarn, LogSubsystem::kNet));
  EXPECT_TRUE(infoEnabled(LogSubsystem::kInit));
  EXPECT_FALSE(logEnabled(LogLevel::kTrace, LogSubsystem::kInit));
  logTo("Version");
  EXPECT_TRUE(logEnabled(LogLevel::kVersion, LogSubsystem::kAll));
  EXPECT_FALSE(logEnabled(LogLevel::kWarn, LogSubsystem::kAll));
  logTo("TRACE");
  EXPECT_TRUE(logEnabled(LogLevel::kTrace, LogSubsystem::kInit));
  logTo("ABORT");
  EXPECT_TRUE(infoEnabled(LogSubsystem::kInit));
  EXPECT_FALSE(logEnabled(LogLevel::kTrace, LogSubsystem::kInit));
}

TEST_F(BaseLog, DefaultSubsystemsAreInitBootstrapAndEnv) {
  logTo("INFO");
  EXPECT_TRUE(infoEnabled(LogSubsystem::kBootstrap));
  EXPECT_TRUE(infoEnabled(LogSubsystem::kEnv));
  EXPECT_FALSE(infoEnabled(LogSubsystem::kNet));
  EXPECT_FALSE(infoEnabled(LogSubsystem::kColl));
}

TEST_F(BaseLog, SubsystemListSelectsAndCaretInverts) {
  logTo("INFO", "coll,NET");
  EXPECT_TRUE(infoEnabled(LogSubsystem::kColl));
  EXPECT_TRUE(infoEnabled(LogSubsystem::kNet));
  EXPECT_FALSE(infoEnabled(LogSubsystem::kInit));
  logTo("INFO", "^COLL,NET");
  EXPECT_FALSE(infoEnabled(LogSubsystem::kColl));
  EXPECT_FALSE(infoEnabled(LogSubsystem::kNet));
  EXPECT_TRUE(infoEnabled(LogSubsystem::kRas));
  logTo("INFO", "ALL");
  EXPECT_TRUE(infoEnabled(LogSubsystem::kProfile));
}

TEST_F(BaseLog, UnknownSubsystemIsAWarningAndTheOthersCount) {
  const std::string path = logTo("INFO", "COL,NET");
  EXPECT_TRUE(infoEnabled(LogSubsystem::kNet));
  EXPECT_FALSE(infoEnabled(LogSubsystem::kColl));
  EXPECT_NE(readAll(path).find("NCCL_DEBUG_SUBSYS: no subsystem 'COL'"), std::string::npos);
}

TEST_F(BaseLog, UnknownLevelIsAWarningAndMeansWarn) {
  const std::string path = logTo("INF0");
  EXPECT_NE(readAll(path).find("NCCL_DEBUG=INF0: expected NONE, VERSION"), std::string::npos);
  EXPECT_FALSE(infoEnabled(LogSubsystem::kInit));
}

TEST_F(BaseLog, LinesHaveTheVendorsFormat) {
  environment.set("NCCL_DEBUG_TIMESTAMP_LEVELS", "");
  const std::string path = logTo("TRACE");
  const int line = __LINE__ + 1;
  FLEXLINK_WARN("lost %s", "it");
  FLEXLINK_INFO(kInit, "rank %d", 3);
  logMessage(LogLevel::kVersion, LogSubsystem::kAll, __FILE__, __LINE__, "NCCL version 2.32.3");
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  const std::string shortHost = std::string(host).substr(0, std::string(host).find('.'));
  const std::string prefix =
      shortHost + ":" + std::to_string(getpid()) + ":" + std::to_string(gettid()) + " [0] ";
  EXPECT_EQ(readAll(path), prefix + "base_log.cc:" + std::to_string(line) + " NCCL WARN lost it\n" +
                               prefix + "NCCL INFO rank 3\n" + "NCCL version 2.32.3\n");
}

// What stands before the host's name in a line of each level.
std::vector<std::string> stamps(const std::string& path) {
  std::ofstream(path, std::ios::trunc).close();
  logMessage(LogLevel::kVersion, LogSubsystem::kAll, __FILE__, __LINE__, "NCCL version");
  FLEXLINK_WARN("x");
  FLEXLINK_INFO(kInit, "x");
  FLEXLINK_TRACE(kInit, "x");
  std::vector<std::string> found;
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  const std::string name = std::string(host).substr(0, std::string(host).find('.')) + ":";
  for (const std::string& line : lines(readAll(path))) {
    const std::string until = found.empty() ? "NCCL version" : name;
    found.push_back(line.substr(0, line.find(until)));
  }
  return found;
}

TEST_F(BaseLog, OnlyWarningsBeginWithTheTimeUnlessOtherLevelsAreNamed) {
  environment.set("NCCL_DEBUG_TIMESTAMP_FORMAT", "now_");
  const std::string path = logTo("TRACE");
  using Four = std::vector<std::string>;
  EXPECT_EQ(stamps(path), (Four{"", "now ", "", ""}));
  const std::pair<const char*, Four> kCases[] = {{"info,Trace", {"", "", "now ", "now "}},
                                                 {"^WARN", {"now ", "", "now ", "now "}},
                                                 {"ALL", {"now ", "now ", "now ", "now "}},
                                                 {"^ALL", {"", "", "", ""}},
                                                 {"", {"", "", "", ""}},
                                                 {",VERSION,", {"now ", "", "", ""}}};
  for (const auto& [levels, expected] : kCases) {
    environment.set("NCCL_DEBUG_TIMESTAMP_LEVELS", levels);
    logReset();
    EXPECT_EQ(stamps(path), expected) << levels;
  }
}

TEST_F(BaseLog, TimeIsLocalAndWrittenAsStrftimeDoes) {
  environment.set("NCCL_DEBUG_TIMESTAMP_LEVELS", "INFO");
  const std::string path = logTo("INFO");
  // Not time(): it reads the clock of the last tick, which may still show the second before.
  const auto at = [] {
    using Clock = std::chrono::system_clock;
    const time_t now = Clock::to_time_t(Clock::now());
    char text[64];
    strftime(text, sizeof(text), "[%F %T] ", localtime(&now));
    return std::string(text);
  };
  const std::string before = at();
  const std::string stamp = stamps(path).at(2);
  EXPECT_LE(before, stamp);
  EXPECT_GE(at(), stamp);
}

TEST_F(BaseLog, FractionsOfASecondHaveTheDigitsAskedFor) {
  const auto shape = [&](const std::string& format) {
    environment.set("NCCL_DEBUG_TIMESTAMP_FORMAT", format);
    std::string stamp = stamps(logTo("WARN")).at(1);
    for (char& c : stamp) {
      if (c >= '0' && c <= '9') c = '9';
    }
    return stamp;
  };
  EXPECT_EQ(shape("<%3f>"), "<999>");
  EXPECT_EQ(shape("[%T.%9f] "), "[99:99:99.999999999] ");
  EXPECT_EQ(shape("%1f%%3f|%"), "9%9f|%");
  EXPECT_EQ(shape("a%nb"), "a b");
  EXPECT_EQ(shape(""), "");
}

TEST_F(BaseLog, UnknownTimestampLevelIsAWarningAndTheOthersCount) {
  environment.set("NCCL_DEBUG_TIMESTAMP_LEVELS", "INF,INFO");
  environment.set("NCCL_DEBUG_TIMESTAMP_FORMAT", "now_");
  const std::string path = logTo("TRACE");
  EXPECT_TRUE(readAll(path).ends_with(
      " NCCL WARN NCCL_DEBUG_TIMESTAMP_LEVELS: no level 'INF', it is left out; there are VERSION, "
      "WARN, INFO, ABORT, TRACE, ALL\n"))
      << readAll(path);
  EXPECT_EQ(stamps(path), (std::vector<std::string>{"", "", "now ", ""}));
}

TEST_F(BaseLog, LineBreaksInTheTextBecomeSpacesAndLongTextsStayWhole) {
  const std::string path = logTo("INFO");
  const std::string text(100'000, 'x');
  FLEXLINK_INFO(kInit, "a\nb");
  FLEXLINK_INFO(kInit, "%s", text.c_str());
  const auto log = lines(readAll(path));
  ASSERT_EQ(log.size(), 2u);
  EXPECT_TRUE(log[0].ends_with("NCCL INFO a b"));
  EXPECT_TRUE(log[1].ends_with("NCCL INFO " + text));
}

TEST_F(BaseLog, ErrnoIsKeptAndPrintable) {
  const std::string path = logTo("INFO");
  errno = ENOENT;
  FLEXLINK_INFO(kInit, "%m");
  EXPECT_EQ(errno, ENOENT);
  EXPECT_NE(readAll(path).find("NCCL INFO No such file or directory\n"), std::string::npos);
}

TEST_F(BaseLog, ErrnoIsKeptWhereTheFileIsFull) {
  environment.set("NCCL_DEBUG", "INFO");
  environment.set("NCCL_DEBUG_FILE", "/dev/full");
  logReset();
  errno = ENOENT;
  FLEXLINK_INFO(kInit, "lost");
  EXPECT_EQ(errno, ENOENT);
}

TEST_F(BaseLog, VersionLevelMakesNoFile) {
  const std::string path = logTo("VERSION");
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(BaseLog, FileNameIsExpanded) {
  environment.set("NCCL_DEBUG", "INFO");
  environment.set("NCCL_DEBUG_FILE", environment.folder.file("a%%b.%p.%x"));
  logReset();
  FLEXLINK_INFO(kInit, "here");
  const std::string path = environment.folder.file("a%b." + std::to_string(getpid()) + ".%x");
  EXPECT_EQ(lines(readAll(path)).size(), 1u);
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  environment.set("NCCL_DEBUG_FILE", environment.folder.file("h.%h"));
  logReset();
  FLEXLINK_INFO(kInit, "there");
  const std::string shortHost = std::string(host).substr(0, std::string(host).find('.'));
  EXPECT_EQ(lines(readAll(environment.folder.file("h." + shortHost))).size(), 1u);
  EXPECT_EQ(lines(readAll(path)).size(), 1u);
}

TEST_F(BaseLog, FileThatCannotBeOpenedFallsBackToStdoutWithAWarning) {
  environment.set("NCCL_DEBUG", "INFO");
  environment.set("NCCL_DEBUG_FILE", "/nowhere/log");
  testing::internal::CaptureStdout();
  logReset();
  FLEXLINK_INFO(kInit, "still here");
  const auto log = lines(testing::internal::GetCapturedStdout());
  ASSERT_EQ(log.size(), 2u);
  EXPECT_TRUE(
      log[0].ends_with("NCCL WARN NCCL_DEBUG_FILE=/nowhere/log: cannot open /nowhere/log: "
                       "No such file or directory; logging to stdout"))
      << log[0];
  EXPECT_TRUE(log[1].ends_with("NCCL INFO still here"));
}

TEST_F(BaseLog, ConfigFileTurnsTheLogOn) {
  environment.folder.write(".nccl.conf", "NCCL_DEBUG=INFO\nNCCL_DEBUG_SUBSYS=NET\n");
  settingsReload();
  logReset();
  EXPECT_TRUE(infoEnabled(LogSubsystem::kNet));
  EXPECT_FALSE(infoEnabled(LogSubsystem::kInit));
}

TEST_F(BaseLog, LinesOfManyThreadsDoNotMixAlsoWhileTheLogIsReset) {
  const std::string path = logTo("INFO");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 500; ++i) FLEXLINK_INFO(kInit, "thread %d line %d end", t, i);
    });
  }
  for (int i = 0; i < 50; ++i) logReset();
  for (std::thread& thread : threads) thread.join();
  std::set<std::string> expected;
  for (int t = 0; t < 4; ++t) {
    for (int i = 0; i < 500; ++i) {
      expected.insert("thread " + std::to_string(t) + " line " + std::to_string(i) + " end");
    }
  }
  for (const std::string& line : lines(readAll(path))) {
    const size_t text = line.find(" [0] NCCL INFO ");
    ASSERT_NE(text, std::string::npos) << line;
    EXPECT_EQ(expected.erase(line.substr(text + 15)), 1u) << line;
  }
  EXPECT_TRUE(expected.empty()) << *expected.begin();
}

}  // namespace
}  // namespace flexlink
