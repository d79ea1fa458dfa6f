// SPDX-License-Identifier: Apache-2.0
// For the tests of base/: environment variables, temporary folders and a captured log that go away
// with the test. No network and no check here.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/settings.h"

namespace flexlink::test {

// A folder that is removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "flexlink-base-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(file(name)) << text;
    return file(name);
  }

 private:
  std::string path_;
};

inline std::string readAll(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> result;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    result.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return result;
}

// Starts from an environment without any NCCL_* or FLEXLINK_* name and with an empty home; puts all
// back at the end.
class CleanEnvironment {
 public:
  CleanEnvironment() {
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string text(*entry);
      if (text.starts_with("NCCL_") || text.starts_with("FLEXLINK_")) {
        before_[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
      }
    }
    for (const auto& [name, value] : before_) unsetenv(name.c_str());
    if (const char* old = getenv("HOME")) home_ = old;
    set("HOME", folder.path());
    reload();
  }

  ~CleanEnvironment() {
    for (const std::string& name : mine_) unsetenv(name.c_str());
    for (const auto& [name, value] : before_) setenv(name.c_str(), value.c_str(), 1);
    if (home_) setenv("HOME", home_->c_str(), 1);
    reload();
  }

  void set(const std::string& name, const std::string& value) {
    setenv(name.c_str(), value.c_str(), 1);
    mine_.push_back(name);
  }

  // What the library would read at its start.
  static void reload() {
    settingsReload();
    logReset();
  }

  // Settings are read and what that logs at WARN is returned.
  std::string warnings() {
    const std::string path = folder.file("warnings");
    set("NCCL_DEBUG", "WARN");
    set("NCCL_DEBUG_FILE", path);
    logReset();
    settingsReload();
    return readAll(path);
  }

  TemporaryFolder folder;

 private:
  std::map<std::string, std::string> before_;
  std::optional<std::string> home_;
  std::vector<std::string> mine_;
};

}  // namespace flexlink::test
