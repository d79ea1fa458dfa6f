// SPDX-License-Identifier: Apache-2.0
// ncclParam* and flexlinkSettingsDump: the settings as C callers see them.
#include <gtest/gtest.h>
#include <string.h>

#include <set>

#include "base_support.h"
#include "flexlink/flexlink.h"
#include "flexlink/nccl.h"

namespace flexlink {
namespace {

using test::CleanEnvironment;

class BaseParams : public ::testing::Test {
 protected:
  CleanEnvironment environment;

  ncclParamHandle_t bind(const char* key) {
    ncclParamHandle_t handle = nullptr;
    EXPECT_EQ(ncclParamBind(&handle, key), ncclSuccess) << key;
    return handle;
  }
};

TEST_F(BaseParams, NumberIsReadThroughEveryTypeThatHoldsIt) {
  environment.set("FLEXLINK_SPIN_US", "200");
  settingsReload();
  const ncclParamHandle_t spin = bind("FLEXLINK_SPIN_US");
  int8_t i8 = 1;
  uint8_t u8 = 1;
  int16_t i16 = 1;
  uint16_t u16 = 1;
  int32_t i32 = 1;
  uint32_t u32 = 1;
  int64_t i64 = 1;
  uint64_t u64 = 1;
  EXPECT_EQ(ncclParamGetI8(spin, &i8), ncclInvalidArgument);
  EXPECT_EQ(i8, 1);
  EXPECT_EQ(ncclParamGetU8(spin, &u8), ncclSuccess);
  EXPECT_EQ(ncclParamGetI16(spin, &i16), ncclSuccess);
  EXPECT_EQ(ncclParamGetU16(spin, &u16), ncclSuccess);
  EXPECT_EQ(ncclParamGetI32(spin, &i32), ncclSuccess);
  EXPECT_EQ(ncclParamGetU32(spin, &u32), ncclSuccess);
  EXPECT_EQ(ncclParamGetI64(spin, &i64), ncclSuccess);
  EXPECT_EQ(ncclParamGetU64(spin, &u64), ncclSuccess);
  EXPECT_EQ(u8, 200);
  EXPECT_EQ(i16, 200);
  EXPECT_EQ(u16, 200);
  EXPECT_EQ(i32, 200);
  EXPECT_EQ(u32, 200u);
  EXPECT_EQ(i64, 200);
  EXPECT_EQ(u64, 200u);
}

TEST_F(BaseParams, NegativeNumberDoesNotFitUnsignedTypes) {
  const ncclParamHandle_t spin = bind("FLEXLINK_SPIN_US");
  int8_t i8 = 0;
  uint64_t u64 = 5;
  EXPECT_EQ(ncclParamGetI8(spin, &i8), ncclSuccess);
  EXPECT_EQ(i8, -1);
  EXPECT_EQ(ncclParamGetU64(spin, &u64), ncclInvalidArgument);
  EXPECT_EQ(u64, 5u);
  EXPECT_STREQ(ncclGetLastError(nullptr), "FLEXLINK_SPIN_US=-1 does not fit 8 unsigned bytes");
}

TEST_F(BaseParams, TextIsNoNumberAndFlagsAreZeroOrOne) {
  int32_t number = 9;
  EXPECT_EQ(ncclParamGetI32(bind("NCCL_DEBUG"), &number), ncclInvalidArgument);
  EXPECT_EQ(ncclParamGetI32(bind("FLEXLINK_TIMEOUT"), &number), ncclInvalidArgument);
  EXPECT_EQ(number, 9);
  EXPECT_EQ(ncclParamGetI32(bind("FLEXLINK_PROBE"), &number), ncclSuccess);
  EXPECT_EQ(number, 1);
}

TEST_F(BaseParams, StringsStayValidAndFollowTheEnvironment) {
  environment.set("NCCL_SOCKET_IFNAME", "eth7");
  settingsReload();
  const char* text = nullptr;
  ASSERT_EQ(ncclParamGetStr(bind("NCCL_SOCKET_IFNAME"), &text), ncclSuccess);
  const char* other = nullptr;
  ASSERT_EQ(ncclParamGetStr(bind("FLEXLINK_INIT_TIMEOUT"), &other), ncclSuccess);
  EXPECT_STREQ(text, "eth7");
  EXPECT_STREQ(other, "120");
}

TEST_F(BaseParams, ParameterByKeyHasItsLengthAndTheSecondNameIsAKeyToo) {
  environment.set("NCCL_HOSTID", "host-a");
  settingsReload();
  for (const char* key : {"NCCL_HOSTID", "FLEXLINK_HOSTID"}) {
    const char* value = nullptr;
    int length = -1;
    ASSERT_EQ(ncclParamGetParameter(key, &value, &length), ncclSuccess);
    EXPECT_STREQ(value, "host-a");
    EXPECT_EQ(length, 6);
  }
}

TEST_F(BaseParams, UnknownKeyIsAnErrorThatNamesTheNearest) {
  ncclParamHandle_t handle = nullptr;
  EXPECT_EQ(ncclParamBind(&handle, "NCCL_IB_TIMEOUT"), ncclInvalidArgument);
  EXPECT_EQ(handle, nullptr);
  const char* value = nullptr;
  EXPECT_EQ(ncclParamGetParameter("NCCL_DEBUG_FIL", &value, nullptr), ncclInvalidArgument);
  EXPECT_STREQ(ncclGetLastError(nullptr),
               "no parameter is named 'NCCL_DEBUG_FIL'; did you mean NCCL_DEBUG_FILE; "
               "ncclParamGetAllParameterKeys lists them");
}

TEST_F(BaseParams, NullAndForeignHandlesAreRefused) {
  int32_t number = 0;
  const char* text = nullptr;
  int length = 0;
  const ncclParamHandle_t spin = bind("FLEXLINK_SPIN_US");
  EXPECT_EQ(ncclParamBind(nullptr, "NCCL_DEBUG"), ncclInvalidArgument);
  ncclParamHandle_t handle = nullptr;
  EXPECT_EQ(ncclParamBind(&handle, nullptr), ncclInvalidArgument);
  EXPECT_EQ(ncclParamGetI32(nullptr, &number), ncclInvalidArgument);
  EXPECT_EQ(ncclParamGetI32(reinterpret_cast<ncclParamHandle_t>(&number), &number),
            ncclInvalidArgument);
  EXPECT_EQ(ncclParamGetI32(spin, nullptr), ncclInvalidArgument);
  EXPECT_EQ(ncclParamGetStr(spin, nullptr), ncclInvalidArgument);
  EXPECT_EQ(ncclParamGet(spin, nullptr, 8, &length), ncclInvalidArgument);
  EXPECT_EQ(ncclParamGet(spin, &number, 4, nullptr), ncclInvalidArgument);
  EXPECT_EQ(ncclParamGetParameter(nullptr, &text, &length), ncclInvalidArgument);
  EXPECT_EQ(ncclParamGetParameter("NCCL_DEBUG", nullptr, &length), ncclInvalidArgument);
  EXPECT_EQ(ncclParamGetAllParameterKeys(nullptr, &length), ncclInvalidArgument);
}

TEST_F(BaseParams, RawValueHasTheBytesOfItsTypeAndNeverOverflowsTheCaller) {
  int64_t number = 0;
  int length = 0;
  ASSERT_EQ(ncclParamGet(bind("FLEXLINK_SPIN_US"), &number, sizeof(number), &length), ncclSuccess);
  EXPECT_EQ(number, -1);
  EXPECT_EQ(length, 8);
  double seconds = 0;
  ASSERT_EQ(ncclParamGet(bind("FLEXLINK_INIT_TIMEOUT"), &seconds, 8, &length), ncclSuccess);
  EXPECT_EQ(seconds, 120.0);
  char text[8] = "unused";
  ASSERT_EQ(ncclParamGet(bind("FLEXLINK_PORT_RANGE"), text, 4, &length), ncclSuccess);
  EXPECT_STREQ(text, "0-0");
  EXPECT_EQ(length, 4);
  EXPECT_EQ(ncclParamGet(bind("FLEXLINK_PORT_RANGE"), text, 3, &length), ncclInvalidArgument);
  EXPECT_EQ(length, 4);
  uint8_t flag = 7;
  ASSERT_EQ(ncclParamGet(bind("FLEXLINK_CMA"), &flag, 1, &length), ncclSuccess);
  EXPECT_EQ(flag, 1);
}

TEST_F(BaseParams, KeysAreAllNamesOfTheListAndEachCanBeBound) {
  const char** table = nullptr;
  int length = 0;
  ASSERT_EQ(ncclParamGetAllParameterKeys(&table, &length), ncclSuccess);
  const std::set<std::string> keys(table, table + length);
  EXPECT_EQ(keys.size(), static_cast<size_t>(length));
  for (const char* key : {"NCCL_DEBUG", "NCCL_DEBUG_FILE", "NCCL_DEBUG_SUBSYS", "NCCL_HOSTID",
                          "FLEXLINK_TIMEOUT", "FLEXLINK_HOSTID"}) {
    EXPECT_EQ(keys.count(key), 1u) << key;
  }
  for (const std::string& key : keys) EXPECT_NE(bind(key.c_str()), nullptr);
}

TEST_F(BaseParams, TwinIsTheSame) {
  ncclParamHandle_t handle = nullptr;
  ASSERT_EQ(pncclParamBind(&handle, "NCCL_DEBUG"), ncclSuccess);
  EXPECT_EQ(handle, bind("NCCL_DEBUG"));
}

TEST_F(BaseParams, DumpAllGoesToTheLogAndNowhereElse) {
  testing::internal::CaptureStdout();
  ncclParamDumpAll();
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  environment.set("NCCL_DEBUG", "INFO");
  environment.set("NCCL_DEBUG_FILE", environment.folder.file("log"));
  environment.set("FLEXLINK_SECRET", "swordfish");
  CleanEnvironment::reload();
  ncclParamDumpAll();
  const std::string log = test::readAll(environment.folder.file("log"));
  EXPECT_EQ(test::lines(log).size(), settingValues().size());
  EXPECT_NE(log.find("NCCL INFO NCCL_DEBUG=INFO (environment)\n"), std::string::npos);
  EXPECT_EQ(log.find("swordfish"), std::string::npos);
}

TEST_F(BaseParams, SettingsDumpIsCutAtTheCapacityAndSaysTheFullLength) {
  const std::string whole = settingsDump();
  EXPECT_EQ(flexlinkSettingsDump(nullptr, 0), whole.size());
  std::string buffer(whole.size() + 1, '#');
  EXPECT_EQ(flexlinkSettingsDump(buffer.data(), buffer.size()), whole.size());
  EXPECT_STREQ(buffer.c_str(), whole.c_str());
  char small[5] = "####";
  EXPECT_EQ(flexlinkSettingsDump(small, 4), whole.size());
  EXPECT_EQ(std::string(small), whole.substr(0, 3));
}

}  // namespace
}  // namespace flexlink
