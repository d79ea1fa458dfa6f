// SPDX-License-Identifier: Apache-2.0
// ncclParam*, and texts for people: the settings of base/settings.h, the search for the vendor.
// They read only; a setting is changed by the environment alone.
#include <string.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "api/export.h"
#include "api/mode.h"
#include "base/log.h"
#include "base/settings.h"

namespace flexlink {
namespace {

Status missing(const char* what) { return makeStatus(Code::kInvalidArgument, "%s is NULL", what); }

// nullptr where no setting has that name, first or second.
const SettingValue* findByKey(const char* key) {
  for (const SettingValue& value : settingValues()) {
    const Setting& setting = *value.setting;
    const bool second = *setting.secondName != '\0' && strcmp(setting.secondName, key) == 0;
    if (second || strcmp(setting.name, key) == 0) return &value;
  }
  return nullptr;
}

Result<const SettingValue*> valueOfKey(const char* key) {
  if (key == nullptr) return missing("the key of a parameter");
  if (const SettingValue* found = findByKey(key)) return found;
  const std::string nearest = nearestSettingName(key);
  return makeStatus(Code::kInvalidArgument,
                    "no parameter is named '%.200s'%s%s; ncclParamGetAllParameterKeys lists them",
                    key, nearest.empty() ? "" : "; did you mean ", nearest.c_str());
}

// A handle is the address of the entry in the list: it is compared, never followed, until it is
// known to be one.
Result<const SettingValue*> valueOfHandle(ncclParamHandle_t handle) {
  for (const SettingValue& value : settingValues()) {
    if (static_cast<const void*>(value.setting) == static_cast<const void*>(handle)) return &value;
  }
  return makeStatus(Code::kInvalidArgument, "%p is no handle that ncclParamBind gave",
                    static_cast<const void*>(handle));
}

Result<int64_t> numberOf(const SettingValue& value) {
  bool flag = false;
  int64_t number = 0;
  if (value.setting->type == SettingType::kBool && parseSetting(value.text, "", &flag)) {
    return int64_t{flag};
  }
  if (value.setting->type == SettingType::kInt64 && parseSetting(value.text, "", &number)) {
    return number;
  }
  return makeStatus(Code::kInvalidArgument,
                    "%s is no whole number (it is '%s'); ask for it with ncclParamGetStr",
                    value.setting->name, value.text.c_str());
}

template <typename T>
ncclResult_t getNumber(ncclParamHandle_t handle, T* out) {
  return guarded([&]() -> Status {
    if (out == nullptr) return missing("the place for a parameter's value");
    FLEXLINK_TRY_ASSIGN(const SettingValue* value, valueOfHandle(handle));
    FLEXLINK_TRY_ASSIGN(const int64_t number, numberOf(*value));
    if (!std::in_range<T>(number)) {
      return makeStatus(Code::kInvalidArgument, "%s=%s does not fit %zu %s bytes",
                        value->setting->name, value->text.c_str(), sizeof(T),
                        std::numeric_limits<T>::is_signed ? "signed" : "unsigned");
    }
    *out = static_cast<T>(number);
    return Status();
  });
}

// The value as its C type: int64_t, bool and double by their bytes, all else as text with its NUL.
Result<std::string> rawBytes(const SettingValue& value) {
  if (value.setting->type == SettingType::kDouble) {
    double number = 0;
    parseSetting(value.text, "", &number);
    return std::string(reinterpret_cast<const char*>(&number), sizeof(number));
  }
  if (value.setting->type == SettingType::kBool) return std::string(1, value.text == "1" ? 1 : 0);
  if (value.setting->type != SettingType::kInt64) {
    return std::string(value.text.c_str(), value.text.size() + 1);
  }
  FLEXLINK_TRY_ASSIGN(const int64_t number, numberOf(value));
  return std::string(reinterpret_cast<const char*>(&number), sizeof(number));
}

// Made on the first call and never destroyed: callers keep the table.
const std::vector<const char*>& allKeys() {
  static const auto* keys = [] {
    auto* fresh = new std::vector<const char*>;
    for (const SettingValue& value : settingValues()) {
      fresh->push_back(value.setting->name);
      if (*value.setting->secondName != '\0') fresh->push_back(value.setting->secondName);
    }
    return fresh;
  }();
  return *keys;
}

// The whole length of text(), of which the buffer gets what fits; 0 where it cannot be made.
template <typename Text>
size_t writeText(char* buffer, size_t capacity, Text&& text) noexcept {
  size_t length = 0;
  (void)guarded([&]() -> Status {
    const std::string whole = text();
    length = whole.size();
    if (buffer == nullptr || capacity == 0) return Status();
    const size_t kept = std::min(length, capacity - 1);
    memcpy(buffer, whole.data(), kept);
    buffer[kept] = '\0';
    return Status();
  });
  return length;
}

}  // namespace
}  // namespace flexlink

using flexlink::Code;
using flexlink::Status;

FLEXLINK_API(ncclResult_t, ncclParamBind, (ncclParamHandle_t * out, const char* key)) {
  return flexlink::guarded([&]() -> Status {
    if (out == nullptr) return flexlink::missing("the place for a parameter's handle");
    FLEXLINK_TRY_ASSIGN(const auto* value, flexlink::valueOfKey(key));
    const void* entry = value->setting;
    *out = static_cast<ncclParamHandle_t>(const_cast<void*>(entry));
    return Status();
  });
}

FLEXLINK_API(ncclResult_t, ncclParamGetI8, (ncclParamHandle_t h, int8_t* out)) {
  return flexlink::getNumber(h, out);
}
FLEXLINK_API(ncclResult_t, ncclParamGetI16, (ncclParamHandle_t h, int16_t* out)) {
  return flexlink::getNumber(h, out);
}
FLEXLINK_API(ncclResult_t, ncclParamGetI32, (ncclParamHandle_t h, int32_t* out)) {
  return flexlink::getNumber(h, out);
}
FLEXLINK_API(ncclResult_t, ncclParamGetI64, (ncclParamHandle_t h, int64_t* out)) {
  return flexlink::getNumber(h, out);
}
FLEXLINK_API(ncclResult_t, ncclParamGetU8, (ncclParamHandle_t h, uint8_t* out)) {
  return flexlink::getNumber(h, out);
}
FLEXLINK_API(ncclResult_t, ncclParamGetU16, (ncclParamHandle_t h, uint16_t* out)) {
  return flexlink::getNumber(h, out);
}
FLEXLINK_API(ncclResult_t, ncclParamGetU32, (ncclParamHandle_t h, uint32_t* out)) {
  return flexlink::getNumber(h, out);
}
FLEXLINK_API(ncclResult_t, ncclParamGetU64, (ncclParamHandle_t h, uint64_t* out)) {
  return flexlink::getNumber(h, out);
}

FLEXLINK_API(ncclResult_t, ncclParamGetStr, (ncclParamHandle_t h, const char** out)) {
  return flexlink::guarded([&]() -> Status {
    if (out == nullptr) return flexlink::missing("the place for a parameter's text");
    FLEXLINK_TRY_ASSIGN(const auto* value, flexlink::valueOfHandle(h));
    *out = value->text.c_str();
    return Status();
  });
}

FLEXLINK_API(ncclResult_t, ncclParamGet, (ncclParamHandle_t h, void* out, int maxLen, int* len)) {
  return flexlink::guarded([&]() -> Status {
    if (out == nullptr || len == nullptr) return flexlink::missing("the place for a value");
    FLEXLINK_TRY_ASSIGN(const auto* value, flexlink::valueOfHandle(h));
    FLEXLINK_TRY_ASSIGN(const std::string bytes, flexlink::rawBytes(*value));
    *len = static_cast<int>(bytes.size());  // also when it is too much: what the caller must offer
    if (maxLen < *len) {
      return makeStatus(Code::kInvalidArgument, "%s has %d bytes, but only %d are offered",
                        value->setting->name, *len, maxLen);
    }
    memcpy(out, bytes.data(), bytes.size());
    return Status();
  });
}

FLEXLINK_API(ncclResult_t, ncclParamGetParameter,
             (const char* key, const char** value, int* valueLen)) {
  return flexlink::guarded([&]() -> Status {
    if (value == nullptr) return flexlink::missing("the place for a parameter's text");
    FLEXLINK_TRY_ASSIGN(const auto* found, flexlink::valueOfKey(key));
    *value = found->text.c_str();
    if (valueLen != nullptr) *valueLen = static_cast<int>(found->text.size());
    return Status();
  });
}

FLEXLINK_API(ncclResult_t, ncclParamGetAllParameterKeys, (const char*** table, int* tableLen)) {
  return flexlink::guarded([&]() -> Status {
    if (table == nullptr || tableLen == nullptr) return flexlink::missing("the place for the keys");
    const auto& keys = flexlink::allKeys();
    *table = const_cast<const char**>(keys.data());
    *tableLen = static_cast<int>(keys.size());
    return Status();
  });
}

FLEXLINK_API(void, ncclParamDumpAll, (void)) {
  flexlink::guarded([&]() -> Status {
    for (const auto& value : flexlink::settingValues()) {
      FLEXLINK_INFO(kEnv, "%s=%s (%s)", value.setting->name, value.text.c_str(),
                    value.origin.c_str());
    }
    return Status();
  });
}

FLEXLINK_OWN_API(size_t, flexlinkSettingsDump, (char* buffer, size_t capacity)) {
  return flexlink::writeText(buffer, capacity, [] { return flexlink::settingsDump(); });
}

FLEXLINK_OWN_API(size_t, flexlinkVendorPlaces, (char* buffer, size_t capacity)) {
  return flexlink::writeText(buffer, capacity, [] { return flexlink::vendorPlacesText(); });
}
