// SPDX-License-Identifier: Apache-2.0
// Where the vendor's library is looked for, and whose functions are used.
#include "drivers/vendor_search.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <map>

#include "api/mode.h"
#include "comm/passed_lanes.h"

namespace flexlink {
namespace {

using Paths = std::vector<std::string>;

Paths placesOf(const SearchFacts& facts, const std::map<std::string, Paths>& folders = {}) {
  Paths paths;
  auto list = [&](const std::string& folder) {
    auto found = folders.find(folder);
    return found == folders.end() ? Paths() : found->second;
  };
  for (const VendorPlace& place : vendorPlaces(facts, list)) paths.push_back(place.path);
  return paths;
}

// Without the folders that are looked at in any process.
Paths ownPlacesOf(const SearchFacts& facts, const std::map<std::string, Paths>& folders = {}) {
  Paths all = placesOf(facts, folders), system = placesOf({});
  Paths own;
  std::copy_if(all.begin(), all.end(), std::back_inserter(own), [&](const std::string& path) {
    return std::find(system.begin(), system.end(), path) == system.end();
  });
  return own;
}

TEST(VendorSearch, TheNamedLibraryIsTheOnlyPlace) {
  SearchFacts facts;
  facts.named = "/my/libnccl.so";
  facts.ncclHome = "/home";
  EXPECT_EQ(placesOf(facts), Paths{"/my/libnccl.so"});
}

TEST(VendorSearch, WhatTheLoaderWouldTakeComesFirst) {
  SearchFacts facts;
  facts.mapped = {"/lib/libc.so.6", "/loaded/libnccl.so.2.27.5", "/x/libncclfoo.so"};
  facts.clients = {{{}, {"/run"}}, {{"/rpath/a", "/rpath/b/"}, {}}};
  facts.libraryPath = {"/ld", "relative"};
  EXPECT_EQ(ownPlacesOf(facts),
            (Paths{"/loaded/libnccl.so.2.27.5", "/rpath/a/libnccl.so.2", "/rpath/b/libnccl.so.2",
                   "/ld/libnccl.so.2", "/run/libnccl.so.2"}));
}

TEST(VendorSearch, WheelOfTheRunningPythonIsFoundByItsMappedFiles) {
  SearchFacts facts;
  facts.mapped = {"/venv/lib/python3.11/site-packages/numpy/core.so",
                  "/venv/lib/python3.11/site-packages/torch/lib/libtorch.so",
                  "/usr/lib/python3/dist-packages/apt_pkg.so"};
  EXPECT_EQ(ownPlacesOf(facts),
            (Paths{"/venv/lib/python3.11/site-packages/nvidia/nccl/lib/libnccl.so.2",
                   "/usr/lib/python3/dist-packages/nvidia/nccl/lib/libnccl.so.2"}));
}

TEST(VendorSearch, WheelsBesideTheProgramAndInTheEnvironmentNeedNothingMapped) {
  SearchFacts facts;
  facts.program = "/venv/bin/python";
  facts.virtualEnv = "/other";
  facts.condaPrefix = "/conda";
  facts.ncclHome = "/nccl";
  EXPECT_EQ(
      ownPlacesOf(facts,
                  {{"/venv/lib", {"pkgconfig", "python3.12"}}, {"/other/lib", {"python3.10"}}}),
      (Paths{"/venv/lib/python3.12/site-packages/nvidia/nccl/lib/libnccl.so.2",
             "/other/lib/python3.10/site-packages/nvidia/nccl/lib/libnccl.so.2",
             "/conda/lib/libnccl.so.2", "/nccl/lib/libnccl.so.2", "/nccl/lib64/libnccl.so.2"}));
}

TEST(VendorSearch, LoaderCacheIsReadByItsStrings) {
  const char text[] =
      "glibc-ld.so.cache1.1\1\2\0libc.so.6\0/lib/libc.so.6\0libnccl.so.2\0"
      "/usr/lib/nccl/libnccl.so.2\0/opt/libnccl.so.2.1\0";
  const std::string cache(text, sizeof text);
  EXPECT_EQ(pathsInLoaderCache(cache), Paths{"/usr/lib/nccl/libnccl.so.2"});
  EXPECT_EQ(pathsInLoaderCache(""), Paths{});
}

TEST(VendorSearch, FactsOfThisProcessAreGathered) {
  setenv("LD_LIBRARY_PATH", "/one::/two", 1);
  setenv("NCCL_HOME", "/home/nccl", 1);
  const SearchFacts facts = searchFacts("");
  unsetenv("LD_LIBRARY_PATH");
  unsetenv("NCCL_HOME");
  EXPECT_EQ(facts.libraryPath, (Paths{"/one", "/two"}));
  EXPECT_EQ(facts.ncclHome, "/home/nccl");
  EXPECT_NE(facts.program.find("test_unit"), std::string::npos);
  char* program = realpath("/proc/self/exe", nullptr);
  EXPECT_EQ(std::count(facts.mapped.begin(), facts.mapped.end(), program), 1);
  free(program);
  EXPECT_TRUE(facts.clients.empty());  // nothing here needs libnccl.so.2
}

TEST(VendorSearch, WhatIsAtAPlaceIsSaid) {
  EXPECT_EQ(lookAt({"/none/libnccl.so.2", "system"}).what, "not there");
  const VendorFound text = lookAt({"/etc/passwd", "system"});
  EXPECT_EQ(text.api, nullptr);
  EXPECT_NE(text.what.find("invalid ELF header"), std::string::npos) << text.what;
  const VendorFound none = lookAt({"/none/libnccl.so.2", "FLEXLINK_NCCL_PATH", true});
  EXPECT_NE(none.what.find("No such file"), std::string::npos) << none.what;
  const VendorFound relative = lookAt({"libnccl.so.2", "FLEXLINK_NCCL_PATH", true});
  EXPECT_NE(relative.what.find("no absolute path"), std::string::npos) << relative.what;
}

ModeFacts asked(const char* wish, const char* device, int cudaDevices = -1, bool isVendor = false) {
  return {wish, device, isVendor, cudaDevices};
}

TEST(Mode, AutoPassesWhereTheDeviceIsCuda) {
  EXPECT_EQ(wishedMode(asked("auto", "cuda")), ModeWish::kPass);
  EXPECT_EQ(wishedMode(asked("auto", "host", 8)), ModeWish::kOwn);
  EXPECT_EQ(wishedMode(asked("auto", "")), ModeWish::kAsk);
  EXPECT_EQ(wishedMode(asked("auto", "", 0)), ModeWish::kOwn);
  EXPECT_EQ(wishedMode(asked("auto", "", 1)), ModeWish::kPass);
}

TEST(Mode, TheSettingDecidesOnAnyDevice) {
  EXPECT_EQ(wishedMode(asked("1", "host")), ModeWish::kPass);
  EXPECT_EQ(wishedMode(asked("1", "", 0)), ModeWish::kPass);
  EXPECT_EQ(wishedMode(asked("0", "cuda", 8)), ModeWish::kOwn);
}

TEST(Mode, WhoStandsInForTheVendorPassesNothingOn) {
  EXPECT_EQ(wishedMode(asked("1", "cuda", 8, true)), ModeWish::kOwn);
}

TEST(Mode, GpusAreCountedByTheirFilesAndWhatIsVisible) {
  EXPECT_EQ(deviceFiles({"nvidia0", "nvidia15", "nvidiactl", "nvidia-uvm", "nvidia", "null"}), 2);
  EXPECT_EQ(deviceFiles({"dxg"}), 1);
  EXPECT_TRUE(hidesAllDevices(""));
  EXPECT_TRUE(hidesAllDevices("-1,0"));
  EXPECT_FALSE(hidesAllDevices("0"));
  EXPECT_FALSE(hidesAllDevices("GPU-8932f937"));
}

TEST(PassedLanes, VendorCarriesAllUnlessItIsAskedForAndCanBe) {
  const PassedLaneFacts good = {.beside = true, .fixed = true};
  EXPECT_EQ(whyVendorAlone(good), nullptr);
  EXPECT_STREQ(whyVendorAlone({}), "no lane beside it");
  PassedLaneFacts facts = good;
  facts.pinned = true;
  EXPECT_STREQ(whyVendorAlone(facts), "NCCL_ALGO or NCCL_PROTO is set");
  facts = good;
  facts.fixed = false;
  EXPECT_EQ(whyVendorAlone(facts), nullptr) << "shares follow what calls take";
  facts.deterministic = true;
  EXPECT_NE(whyVendorAlone(facts), nullptr);
  facts.fixed = true;
  EXPECT_EQ(whyVendorAlone(facts), nullptr);
}

TEST(VendorApi, VersionIsTextAsNvidiaWritesIt) {
  EXPECT_EQ(versionText(23203), "2.32.3");
  EXPECT_EQ(versionText(21104), "2.11.4");
  EXPECT_EQ(versionText(2708), "2.7.8");
}

}  // namespace
}  // namespace flexlink
