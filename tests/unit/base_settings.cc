// SPDX-License-Identifier: Apache-2.0
// The list of settings: defaults, environment, NCCL's config files, bad values, unknown names.
#include <gtest/gtest.h>

#include <set>

#include "base_support.h"

namespace flexlink {
namespace {

using test::CleanEnvironment;
using test::lines;

class BaseSettings : public ::testing::Test {
 protected:
  CleanEnvironment environment;

  std::string valueOf(const std::string& name) {
    for (const SettingValue& value : settingValues()) {
      if (name == value.setting->name) return value.text + " (" + value.origin + ")";
    }
    return "no such setting";
  }
};

TEST_F(BaseSettings, NothingSetGivesTheDefaults) {
  const Settings& now = settings();
  EXPECT_EQ(now.timeoutSeconds, 0.0);
  EXPECT_EQ(now.initTimeoutSeconds, 120.0);
  EXPECT_EQ(now.hostId, "");
  EXPECT_EQ(now.device, "");
  EXPECT_TRUE(now.probe);
  EXPECT_EQ(now.portRange.first, 0);
  EXPECT_EQ(now.portRange.last, 0);
  EXPECT_EQ(now.spinMicros, -1);
  EXPECT_EQ(now.eagerBytes, -1);
  EXPECT_EQ(now.chunkBytes, -1);
  EXPECT_TRUE(now.cma);
  EXPECT_TRUE(now.directCopy);
  EXPECT_FALSE(now.deterministic);
  EXPECT_EQ(now.commBlocking, -1);
  EXPECT_EQ(now.socketFamily, "");
}

TEST_F(BaseSettings, EveryDefaultIsOfItsOwnTypeAndEveryNameIsThereOnce) {
  std::set<std::string> names;
  for (const SettingValue& value : settingValues()) {
    EXPECT_TRUE(names.insert(value.setting->name).second) << value.setting->name;
    EXPECT_EQ(value.text, value.setting->defaultText) << value.setting->name;
    EXPECT_EQ(value.origin, "default") << value.setting->name;
    EXPECT_STRNE(value.setting->prose, "") << value.setting->name;
  }
  EXPECT_GE(names.size(), 23u);
}

TEST_F(BaseSettings, EnvironmentGivesValuesOfEveryType) {
  environment.set("FLEXLINK_TIMEOUT", "2.5");
  environment.set("FLEXLINK_DEVICE", "HOST");
  environment.set("FLEXLINK_PROBE", "off");
  environment.set("FLEXLINK_PORT_RANGE", "20000-20010");
  environment.set("FLEXLINK_SPIN_US", " 50 ");
  environment.set("NCCL_SOCKET_FAMILY", "AF_INET6");
  settingsReload();
  EXPECT_EQ(settings().timeoutSeconds, 2.5);
  EXPECT_EQ(settings().device, "host");
  EXPECT_FALSE(settings().probe);
  EXPECT_EQ(settings().portRange.first, 20000);
  EXPECT_EQ(settings().portRange.last, 20010);
  EXPECT_EQ(settings().spinMicros, 50);
  EXPECT_EQ(settings().socketFamily, "AF_INET6");
  EXPECT_EQ(valueOf("FLEXLINK_PROBE"), "0 (environment)");
  EXPECT_EQ(valueOf("FLEXLINK_TIMEOUT"), "2.5 (environment)");
}

TEST_F(BaseSettings, ValuesStayAsFirstReadUntilAReload) {
  EXPECT_EQ(settings().spinMicros, -1);
  environment.set("FLEXLINK_SPIN_US", "7");
  EXPECT_EQ(settings().spinMicros, -1);
  settingsReload();
  EXPECT_EQ(settings().spinMicros, 7);
}

TEST_F(BaseSettings, ReferenceFromBeforeAReloadStaysReadable) {
  const Settings& before = settings();
  environment.set("FLEXLINK_HOSTID", "a");
  settingsReload();
  EXPECT_EQ(before.hostId, "");
  EXPECT_EQ(settings().hostId, "a");
}

TEST_F(BaseSettings, SecondNameCountsOnlyWhereTheFirstIsNotSet) {
  environment.set("NCCL_HOSTID", "theirs");
  settingsReload();
  EXPECT_EQ(settings().hostId, "theirs");
  environment.set("FLEXLINK_HOSTID", "ours");
  settingsReload();
  EXPECT_EQ(settings().hostId, "ours");
  environment.set("FLEXLINK_HOSTID", "");
  settingsReload();
  EXPECT_EQ(settings().hostId, "theirs");
}

TEST_F(BaseSettings, NamedConfigFileSuppliesWhatTheEnvironmentLacks) {
  const std::string path = environment.folder.write(
      "my.conf", "# comment\nNCCL_SOCKET_IFNAME=eth7\nNCCL_HOSTID = h1\r\n");
  environment.set("NCCL_CONF_FILE", path);
  environment.set("NCCL_HOSTID", "h2");
  settingsReload();
  EXPECT_EQ(settings().socketIfname, "eth7");
  EXPECT_EQ(valueOf("NCCL_SOCKET_IFNAME"), "eth7 (file " + path + ")");
  EXPECT_EQ(settings().hostId, "h2");
  EXPECT_EQ(getenv("NCCL_SOCKET_IFNAME"), nullptr);
}

TEST_F(BaseSettings, ConfigFileInTheHomeFolderCountsOnlyWithoutANamedOne) {
  environment.folder.write(".nccl.conf", "NCCL_OOB_NET_IFNAME=home0\n");
  settingsReload();
  EXPECT_EQ(settings().oobIfname, "home0");
  environment.set("NCCL_CONF_FILE", environment.folder.write("empty.conf", ""));
  settingsReload();
  EXPECT_EQ(settings().oobIfname, "");
}

TEST_F(BaseSettings, EmptyEnvironmentVariableHidesTheConfigFile) {
  environment.folder.write(".nccl.conf", "NCCL_OOB_NET_IFNAME=home0\n");
  environment.set("NCCL_OOB_NET_IFNAME", "");
  settingsReload();
  EXPECT_EQ(settings().oobIfname, "");
}

TEST_F(BaseSettings, EmptyTextCountsWhereItHasAMeaning) {
  EXPECT_EQ(valueOf("NCCL_DEBUG_TIMESTAMP_LEVELS"), "WARN (default)");
  environment.set("NCCL_DEBUG_TIMESTAMP_LEVELS", "");
  environment.set("NCCL_DEBUG_TIMESTAMP_FORMAT", "");
  settingsReload();
  EXPECT_EQ(valueOf("NCCL_DEBUG_TIMESTAMP_LEVELS"), " (environment)");
  EXPECT_EQ(valueOf("NCCL_DEBUG_TIMESTAMP_FORMAT"), " (environment)");
}

TEST_F(BaseSettings, LookupSaysWhereANameOutsideTheListCameFrom) {
  const std::string path = environment.folder.write(".nccl.conf", "NCCL_IB_HCA==mlx5_0\n");
  settingsReload();
  Origin origin;
  EXPECT_STREQ(lookup("NCCL_IB_HCA", &origin), "=mlx5_0");
  EXPECT_EQ(origin.kind, OriginKind::kFile);
  EXPECT_EQ(std::string(origin.path), path);
  EXPECT_EQ(lookup("NCCL_IB_GID_INDEX", &origin), nullptr);
  EXPECT_EQ(origin.kind, OriginKind::kDefault);
}

TEST_F(BaseSettings, UnreadableNamedConfigFileIsAWarning) {
  environment.set("NCCL_CONF_FILE", "/nowhere/nccl.conf");
  const std::string log = environment.warnings();
  EXPECT_NE(log.find("NCCL_CONF_FILE=/nowhere/nccl.conf: cannot be read: No such file"),
            std::string::npos)
      << log;
}

TEST_F(BaseSettings, BadValueIsAWarningWithTheExpectedFormAndTheDefaultStays) {
  environment.set("FLEXLINK_INIT_TIMEOUT", "soon");
  environment.set("FLEXLINK_SPIN_US", "-2");
  environment.set("FLEXLINK_DEVICE", "gpu");
  environment.set("FLEXLINK_PORT_RANGE", "5-4");
  environment.set("FLEXLINK_CMA", "maybe");
  const auto log = lines(environment.warnings());
  ASSERT_EQ(log.size(), 5u);
  const char* expected[] = {
      "FLEXLINK_INIT_TIMEOUT=soon (environment): expected a number in 0.. (s); using the default "
      "'120'",
      "FLEXLINK_DEVICE=gpu (environment): expected one of host, cuda; using the default ''",
      "FLEXLINK_PORT_RANGE=5-4 (environment): expected FIRST-LAST, ports from 1 to 65535, or 0-0; "
      "using the default '0-0'",
      "FLEXLINK_SPIN_US=-2 (environment): expected a whole number in -1..1000000 (us); using the "
      "default '-1'",
      "FLEXLINK_CMA=maybe (environment): expected 0 or 1; using the default '1'"};
  for (size_t i = 0; i < 5; ++i) EXPECT_TRUE(log[i].ends_with(expected[i])) << log[i];
  EXPECT_EQ(settings().initTimeoutSeconds, 120.0);
  EXPECT_EQ(settings().spinMicros, -1);
  EXPECT_EQ(settings().device, "");
  EXPECT_TRUE(settings().cma);
  EXPECT_EQ(valueOf("FLEXLINK_CMA"), "1 (default)");
}

TEST_F(BaseSettings, UnknownNameIsOneWarningWithTheNearestName) {
  environment.set("FLEXLINK_TIMOUT", "3");
  environment.set("FLEXLINK_TEST_ANYTHING", "3");
  const auto log = lines(environment.warnings());
  ASSERT_EQ(log.size(), 1u);
  EXPECT_TRUE(
      log[0].ends_with("FLEXLINK_TIMOUT (environment) is no setting and has no effect; did "
                       "you mean FLEXLINK_TIMEOUT?"))
      << log[0];
}

TEST_F(BaseSettings, NearestNameIsFoundAcrossPrefixesAndNeverFromAfar) {
  EXPECT_EQ(nearestSettingName("FLEXLINK_SOCKET_IFNAME"), "NCCL_SOCKET_IFNAME");
  EXPECT_EQ(nearestSettingName("FLEXLINK_DETERMINSTIC"), "FLEXLINK_DETERMINISTIC");
  EXPECT_EQ(nearestSettingName("FLEXLINK_WQXYZVKJ"), "");
}

TEST_F(BaseSettings, DumpHasOneLineOfFiveFieldsPerSetting) {
  environment.set("FLEXLINK_RUN_DIR", "/tmp/a\tb");
  settingsReload();
  const auto dump = lines(settingsDump());
  ASSERT_EQ(dump.size(), settingValues().size());
  EXPECT_EQ(dump[0],
            "FLEXLINK_TIMEOUT\t0\tdefault\ts\tlimit for one operation, also where a living peer "
            "does not come; 0: no limit");
  for (const std::string& line : dump) EXPECT_EQ(std::count(line.begin(), line.end(), '\t'), 4);
  EXPECT_NE(settingsDump().find("FLEXLINK_RUN_DIR\t/tmp/a b\tenvironment\t\t"), std::string::npos);
}

TEST_F(BaseSettings, SecretIsReadButNeverShown) {
  environment.set("FLEXLINK_SECRET", "swordfish");
  settingsReload();
  EXPECT_EQ(settings().secret, "swordfish");
  EXPECT_EQ(settingsDump().find("swordfish"), std::string::npos);
  EXPECT_EQ(valueOf("FLEXLINK_SECRET"), "*** (environment)");
}

TEST(BaseSettingsParse, NumbersMustBeWholeTextsInsideTheirBounds) {
  int64_t number = 11;
  EXPECT_FALSE(parseSetting("", "", &number));
  EXPECT_FALSE(parseSetting("5x", "", &number));
  EXPECT_FALSE(parseSetting("1.5", "", &number));
  EXPECT_FALSE(parseSetting("9223372036854775808", "", &number));
  EXPECT_FALSE(parseSetting("11", "0..10", &number));
  EXPECT_FALSE(parseSetting("-1", "0..", &number));
  EXPECT_EQ(number, 11);
  EXPECT_TRUE(parseSetting("10", "0..10", &number));
  EXPECT_EQ(number, 10);
  double real = 7;
  for (const char* bad : {"nan", "inf", "-inf", "1e999", "-1", "2,5"}) {
    EXPECT_FALSE(parseSetting(bad, "0..", &real)) << bad;
  }
  EXPECT_EQ(real, 7);
  EXPECT_TRUE(parseSetting("1e-3", "0..", &real));
  EXPECT_EQ(real, 1e-3);
}

TEST(BaseSettingsParse, PortRangeTakesOnePortOrTwoInOrder) {
  PortRange range{1, 2};
  for (const char* bad : {"", "-", "5-", "-5", "0-5", "6-5", "65536", "1-65536", "1-2-3", "a-b"}) {
    EXPECT_FALSE(parseSetting(bad, "", &range)) << bad;
  }
  EXPECT_EQ(range.first, 1);
  EXPECT_TRUE(parseSetting("7000", "", &range));
  EXPECT_EQ(range.first, 7000);
  EXPECT_EQ(range.last, 7000);
}

TEST(BaseSettingsParse, ConfigTextSkipsCommentsAndLinesWithoutEquals) {
  const auto entries = parseConfigText("\n# A=1\n  B = two words \nC\n=D\nE=\nF=a=b");
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].name + "|" + entries[0].text, "B|two words");
  EXPECT_EQ(entries[1].name + "|" + entries[1].text, "E|");
  EXPECT_EQ(entries[2].name + "|" + entries[2].text, "F|a=b");
}

}  // namespace
}  // namespace flexlink
