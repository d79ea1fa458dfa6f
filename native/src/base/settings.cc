// SPDX-License-Identifier: Apache-2.0
// Reads the list of settings from the environment and NCCL's config files, and says what is wrong
// with them. What a setting means is the business of its reader.
#include "base/settings.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/log.h"

namespace flexlink {
namespace {

constexpr std::string_view kOwnPrefix = "FLEXLINK_";
constexpr std::string_view kVendorPrefix = "NCCL_";
constexpr std::string_view kTestPrefix = "FLEXLINK_TEST_";  // knobs of the tests, never checked

template <typename T>
constexpr SettingType kTypeOf = std::is_same_v<T, int64_t>     ? SettingType::kInt64
                                : std::is_same_v<T, bool>      ? SettingType::kBool
                                : std::is_same_v<T, double>    ? SettingType::kDouble
                                : std::is_same_v<T, PortRange> ? SettingType::kPortRange
                                                               : SettingType::kString;

constexpr Setting kList[] = {
#define X(type, field, name, second, standard, form, unit, prose) \
  {name, second, kTypeOf<type>, standard, form, unit, prose},
    FLEXLINK_SETTINGS(X)
#undef X
};

// ---- Files -------------------------------------------------------------------------------------

struct ConfigFile {
  std::string path;
  std::vector<NamedText> entries;
};

// What all config files say, read once. Tables that a reload replaced stay reachable in `previous`,
// because callers hold pointers into them.
struct ConfigTables {
  std::vector<ConfigFile> files;  // the first that has a name wins
  std::string complaint;
  std::unique_ptr<const ConfigTables> previous;
};

constexpr size_t kMaxConfigBytes = 1 << 20;

// 0, or errno.
int readFile(const std::string& path, std::string* text) {
  FILE* file = fopen(path.c_str(), "re");
  if (file == nullptr) return errno;
  char buffer[4096];
  size_t got;
  while (text->size() < kMaxConfigBytes && (got = fread(buffer, 1, sizeof(buffer), file)) > 0) {
    text->append(buffer, got);
  }
  const int error = ferror(file) ? errno : 0;
  fclose(file);
  return error;
}

std::string homeFolder() {
  if (const char* home = getenv("HOME"); home != nullptr && *home != '\0') return home;
  char buffer[4096];
  passwd entry;
  passwd* found = nullptr;
  if (getpwuid_r(getuid(), &entry, buffer, sizeof(buffer), &found) != 0 || !found) return "";
  return found->pw_dir;
}

std::unique_ptr<ConfigTables> readConfigTables() {
  auto tables = std::make_unique<ConfigTables>();
  const char* named = getenv("NCCL_CONF_FILE");
  const bool isNamed = named != nullptr && *named != '\0';
  const std::string first = isNamed ? std::string(named) : homeFolder() + "/.nccl.conf";
  for (const std::string& path : {first, std::string("/etc/nccl.conf")}) {
    std::string text;
    const int error = readFile(path, &text);
    if (error == 0) tables->files.push_back({path, parseConfigText(text)});
    if (error != 0 && isNamed && path == first) {
      tables->complaint = "NCCL_CONF_FILE=" + path + ": cannot be read: " + strerror(error);
    }
  }
  return tables;
}

// ---- State -------------------------------------------------------------------------------------

struct State {
  Settings values;
  std::vector<SettingValue> list;
  std::unique_ptr<const State> previous;  // callers keep references across a reload
};

// Guards building. The pointers are stored with release and loaded with acquire; what they point to
// never changes and is never destroyed, so that exit order does not matter.
constinit std::mutex buildMutex;
constinit std::atomic<const ConfigTables*> configTables{nullptr};
constinit std::atomic<const State*> currentState{nullptr};

const ConfigTables& tables() {
  if (const ConfigTables* ready = configTables.load(std::memory_order_acquire)) return *ready;
  auto fresh = readConfigTables();
  const ConfigTables* expected = nullptr;
  if (configTables.compare_exchange_strong(expected, fresh.get(), std::memory_order_acq_rel)) {
    return *fresh.release();
  }
  return *expected;
}

// ---- Values ------------------------------------------------------------------------------------

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

template <typename T>
bool parseNumber(std::string_view text, T* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// form: "low..high", either end may be empty.
template <typename T>
bool parseBounded(std::string_view text, std::string_view form, T* value) {
  T parsed;
  if (!parseNumber(trimmed(text), &parsed)) return false;
  if (const size_t dots = form.find(".."); dots != std::string_view::npos) {
    T bound;
    if (parseNumber(form.substr(0, dots), &bound) && parsed < bound) return false;
    if (parseNumber(form.substr(dots + 2), &bound) && parsed > bound) return false;
  }
  *value = parsed;
  return true;
}

bool sameIgnoringCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string canonical(int64_t value) { return std::to_string(value); }
std::string canonical(bool value) { return value ? "1" : "0"; }
std::string canonical(const std::string& value) { return value; }
std::string canonical(double value) {
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof(text), value).ptr);
}
std::string canonical(PortRange value) {
  return std::to_string(value.first) + "-" + std::to_string(value.last);
}

std::string expectation(const Setting& setting) {
  std::string form = setting.form;
  std::string unit = *setting.unit ? std::string(" (") + setting.unit + ")" : "";
  switch (setting.type) {
    case SettingType::kBool:
      return "0 or 1";
    case SettingType::kInt64:
      return "a whole number in " + form + unit;
    case SettingType::kDouble:
      return "a number in " + form + unit;
    case SettingType::kPortRange:
      return "FIRST-LAST, ports from 1 to 65535, or 0-0";
    case SettingType::kString:
      break;
  }
  for (size_t at; (at = form.find('|')) != std::string::npos;) form.replace(at, 1, ", ");
  return "one of " + form;
}

const char* find(const Setting& setting, const char** name, Origin* origin) {
  for (const char* candidate : {setting.name, setting.secondName}) {
    if (*candidate == '\0') continue;
    *name = candidate;
    const char* text = lookup(candidate, origin);
    const bool mayBeEmpty = strcmp(setting.form, "empty") == 0;
    // Set to nothing is not set, as in NCCL, but for a few.
    if (text != nullptr && (*text != '\0' || mayBeEmpty)) return text;
  }
  *origin = {};
  return nullptr;
}

std::string originText(const Origin& origin) {
  if (origin.kind == OriginKind::kFile) return std::string("file ") + origin.path;
  return origin.kind == OriginKind::kEnvironment ? "environment" : "default";
}

using Complaints = std::vector<std::string>;

template <typename T>
void readOne(const Setting& setting, T* field, State* state, Complaints* complaints) {
  parseSetting(setting.defaultText, "", field);
  const char* name = setting.name;
  Origin origin;
  const char* text = find(setting, &name, &origin);
  if (text != nullptr && !parseSetting(text, setting.form, field)) {
    complaints->push_back(std::string(name) + "=" + text + " (" + originText(origin) +
                          "): expected " + expectation(setting) + "; using the default '" +
                          setting.defaultText + "'");
    origin = {};
  }
  std::string shown = canonical(*field);
  if (strcmp(setting.form, "secret") == 0 && !shown.empty()) shown = "***";
  state->list.push_back({&setting, std::move(shown), originText(origin)});
}

bool isKnown(std::string_view name) {
  return std::any_of(std::begin(kList), std::end(kList), [&](const Setting& setting) {
    return name == setting.name || name == setting.secondName;
  });
}

void checkName(std::string_view name, const std::string& origin, Complaints* complaints) {
  if (!name.starts_with(kOwnPrefix) || name.starts_with(kTestPrefix) || isKnown(name)) return;
  const std::string nearest = nearestSettingName(name);
  complaints->push_back(std::string(name) + " (" + origin + ") is no setting and has no effect" +
                        (nearest.empty() ? "" : "; did you mean " + nearest + "?"));
}

void checkNames(const ConfigTables& config, Complaints* complaints) {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    checkName(text.substr(0, text.find('=')), "environment", complaints);
  }
  for (const ConfigFile& file : config.files) {
    for (const NamedText& entry : file.entries) {
      checkName(entry.name, "file " + file.path, complaints);
    }
  }
}

std::unique_ptr<State> readState(Complaints* complaints) {
  auto state = std::make_unique<State>();
  const ConfigTables& config = tables();
  if (!config.complaint.empty()) complaints->push_back(config.complaint);
  const Setting* setting = kList;
#define X(type, field, ...) readOne(*setting++, &state->values.field, state.get(), complaints);
  FLEXLINK_SETTINGS(X)
#undef X
  checkNames(config, complaints);
  return state;
}

const State& state() {
  if (const State* ready = currentState.load(std::memory_order_acquire)) return *ready;
  Complaints complaints;
  const State* built;
  {
    std::lock_guard lock(buildMutex);
    built = currentState.load(std::memory_order_acquire);
    if (built == nullptr) {
      built = readState(&complaints).release();
      currentState.store(built, std::memory_order_release);
    }
  }
  for (const std::string& text : complaints) FLEXLINK_WARN("%s", text.c_str());
  return *built;
}

size_t editDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string_view withoutPrefix(std::string_view name) {
  for (std::string_view prefix : {kOwnPrefix, kVendorPrefix}) {
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  }
  return name;
}

}  // namespace

bool parseSetting(std::string_view text, const char* form, int64_t* value) {
  return parseBounded(text, form, value);
}

bool parseSetting(std::string_view text, const char* form, double* value) {
  double parsed;
  if (!parseBounded(text, form, &parsed) || !std::isfinite(parsed)) return false;
  *value = parsed;
  return true;
}

bool parseSetting(std::string_view text, const char*, bool* value) {
  const std::string_view word = trimmed(text);
  constexpr std::pair<std::string_view, bool> kWords[] = {
      {"1", true},  {"true", true},   {"yes", true}, {"on", true},
      {"0", false}, {"false", false}, {"no", false}, {"off", false}};
  for (const auto& [name, meaning] : kWords) {
    if (!sameIgnoringCase(word, name)) continue;
    *value = meaning;
    return true;
  }
  return false;
}

bool parseSetting(std::string_view text, const char* form, std::string* value) {
  std::string_view choices(form);
  if (choices.find('|') == std::string_view::npos) {
    *value = text;
    return true;
  }
  const std::string_view word = trimmed(text);
  while (!choices.empty()) {
    const std::string_view choice = choices.substr(0, choices.find('|'));
    if (sameIgnoringCase(word, choice)) {
      *value = choice;
      return true;
    }
    choices.remove_prefix(std::min(choices.size(), choice.size() + 1));
  }
  return false;
}

bool parseSetting(std::string_view text, const char*, PortRange* value) {
  const std::string_view range = trimmed(text);
  const size_t dash = range.find('-');
  PortRange parsed;
  if (!parseNumber(range.substr(0, dash), &parsed.first)) return false;
  parsed.last = parsed.first;
  if (dash != std::string_view::npos && !parseNumber(range.substr(dash + 1), &parsed.last)) {
    return false;
  }
  const bool any = parsed.first == 0 && parsed.last == 0;
  if (!any && !(1 <= parsed.first && parsed.first <= parsed.last && parsed.last <= 65535)) {
    return false;
  }
  *value = parsed;
  return true;
}

std::vector<NamedText> parseConfigText(std::string_view text) {
  std::vector<NamedText> entries;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(text.size(), end + 1));
    const size_t equals = line.find('=');
    if (line.empty() || line[0] == '#' || equals == std::string_view::npos) continue;
    const std::string_view name = trimmed(line.substr(0, equals));
    if (!name.empty()) {
      entries.push_back({std::string(name), std::string(trimmed(line.substr(equals + 1)))});
    }
  }
  return entries;
}

std::string nearestSettingName(std::string_view unknown) {
  const std::string_view word = withoutPrefix(unknown);
  size_t best = std::max<size_t>(2, word.size() / 3) + 1;
  std::string nearest;
  for (const Setting& setting : kList) {
    const size_t distance = editDistance(word, withoutPrefix(setting.name));
    if (distance < best) {
      best = distance;
      nearest = setting.name;
    }
  }
  return nearest;
}

const char* lookup(const char* name, Origin* origin) {
  if (origin != nullptr) *origin = {};
  if (const char* text = getenv(name)) {
    if (origin != nullptr) origin->kind = OriginKind::kEnvironment;
    return text;
  }
  for (const ConfigFile& file : tables().files) {
    for (const NamedText& entry : file.entries) {
      if (entry.name != name) continue;
      if (origin != nullptr) *origin = {OriginKind::kFile, file.path.c_str()};
      return entry.text.c_str();
    }
  }
  return nullptr;
}

const Settings& settings() { return state().values; }

const std::vector<SettingValue>& settingValues() { return state().list; }

std::string settingsDump() {
  std::string text;
  for (const SettingValue& value : settingValues()) {
    std::string shown = value.text;
    for (char& c : shown) {
      if (c == '\t' || c == '\n') c = ' ';
    }
    text += std::string(value.setting->name) + "\t" + shown + "\t" + value.origin + "\t" +
            value.setting->unit + "\t" + value.setting->prose + "\n";
  }
  return text;
}

void settingsReload() {
  Complaints complaints;
  {
    std::lock_guard lock(buildMutex);
    auto freshTables = readConfigTables();
    freshTables->previous.reset(configTables.load(std::memory_order_acquire));
    configTables.store(freshTables.release(), std::memory_order_release);
    auto fresh = readState(&complaints);
    fresh->previous.reset(currentState.load(std::memory_order_acquire));
    currentState.store(fresh.release(), std::memory_order_release);
  }
  for (const std::string& text : complaints) FLEXLINK_WARN("%s", text.c_str());
}

}  // namespace flexlink
