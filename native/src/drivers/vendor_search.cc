// SPDX-License-Identifier: Apache-2.0
#include "drivers/vendor_search.h"

#include <string.h>

#include <algorithm>
#include <string_view>

namespace flexlink {
namespace {

constexpr std::string_view kFile = "libnccl.so.2";
constexpr std::string_view kInWheel = "nvidia/nccl/lib/libnccl.so.2";
// Folders of the loader that need not be in its cache, of Debian's and Red Hat's kind.
constexpr const char* kSystemFolders[] = {"/lib/x86_64-linux-gnu",
                                          "/usr/lib/x86_64-linux-gnu",
                                          "/lib/aarch64-linux-gnu",
                                          "/usr/lib/aarch64-linux-gnu",
                                          "/lib64",
                                          "/usr/lib64",
                                          "/usr/lib",
                                          "/usr/local/lib",
                                          "/usr/local/cuda/lib64"};

class Places {
 public:
  // Only what is absolute, and each once.
  void add(std::string path, const char* why) {
    auto same = [&](const VendorPlace& place) { return place.path == path; };
    if (path.empty() || path[0] != '/' || std::any_of(all.begin(), all.end(), same)) return;
    all.push_back({std::move(path), why});
  }
  void addIn(const std::string& folder, std::string_view file, const char* why) {
    add(folder + (folder.ends_with('/') ? "" : "/") + std::string(file), why);
  }

  std::vector<VendorPlace> all;
};

// ".../site-packages" of a file below it; "" for any other.
std::string packagesFolder(const std::string& file) {
  for (std::string_view folder : {"/site-packages/", "/dist-packages/"}) {
    if (size_t at = file.find(folder); at != std::string::npos) {
      return file.substr(0, at + folder.size() - 1);
    }
  }
  return "";
}

// The wheel below the prefix of a Python, whatever version that has.
void addWheels(const std::string& prefix, const ListFolder& list, const char* why, Places* places) {
  if (prefix.empty()) return;
  for (const std::string& entry : list(prefix + "/lib")) {
    if (!entry.starts_with("python3")) continue;
    places->addIn(prefix + "/lib/" + entry + "/site-packages", kInWheel, why);
  }
}

std::string parentOf(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

// What the loader itself would have found.
void addLoaders(const SearchFacts& facts, Places* places) {
  for (const std::string& file : facts.mapped) {
    if (file.substr(file.rfind('/') + 1).starts_with("libnccl.so")) places->add(file, "loaded");
  }
  for (const NcclClient& client : facts.clients) {
    for (const std::string& folder : client.rpath) places->addIn(folder, kFile, "RPATH");
  }
  for (const std::string& folder : facts.libraryPath) {
    places->addIn(folder, kFile, "LD_LIBRARY_PATH");
  }
  for (const NcclClient& client : facts.clients) {
    for (const std::string& folder : client.runpath) places->addIn(folder, kFile, "RUNPATH");
  }
}

}  // namespace

std::vector<VendorPlace> vendorPlaces(const SearchFacts& facts, const ListFolder& list) {
  if (!facts.named.empty()) return {{facts.named, "FLEXLINK_NCCL_PATH", true}};
  Places places;
  addLoaders(facts, &places);
  for (const std::string& file : facts.mapped) {
    if (std::string folder = packagesFolder(file); !folder.empty()) {
      places.addIn(folder, kInWheel, "wheel of the running Python");
    }
  }
  addWheels(parentOf(parentOf(facts.program)), list, "wheel beside the program", &places);
  addWheels(facts.virtualEnv, list, "wheel in VIRTUAL_ENV", &places);
  if (!facts.condaPrefix.empty()) places.addIn(facts.condaPrefix + "/lib", kFile, "CONDA_PREFIX");
  for (const std::string& path : facts.systemPaths) places.add(path, "ld.so.cache");
  for (const char* folder : kSystemFolders) places.addIn(folder, kFile, "system");
  if (!facts.ncclHome.empty()) {
    places.addIn(facts.ncclHome + "/lib", kFile, "NCCL_HOME");
    places.addIn(facts.ncclHome + "/lib64", kFile, "NCCL_HOME");
  }
  return places.all;
}

// The file holds its paths as strings that end with a zero; what else is in it does not matter.
std::vector<std::string> pathsInLoaderCache(const std::string& content) {
  std::vector<std::string> found;
  const std::string ending = "/" + std::string(kFile) + std::string(1, '\0');
  for (size_t at = content.find(ending); at != std::string::npos;
       at = content.find(ending, at + 1)) {
    size_t before = content.rfind('\0', at);
    size_t start = before == std::string::npos ? 0 : before + 1;
    found.push_back(content.substr(start, at + ending.size() - 1 - start));
  }
  return found;
}

}  // namespace flexlink
