// SPDX-License-Identifier: Apache-2.0
// Where the vendor's libnccl.so.2 may be: the library that the process would use without this one.
// What is to be known of the process is gathered apart (searchFacts); the order is pure.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace flexlink {

// A loaded file that needs libnccl.so.2, and the folders that it names for its needs, $ORIGIN
// resolved.
struct NcclClient {
  std::vector<std::string> rpath;    // before LD_LIBRARY_PATH
  std::vector<std::string> runpath;  // after it
};

struct SearchFacts {
  std::string named;                     // FLEXLINK_NCCL_PATH
  std::vector<std::string> mapped;       // files in this process's memory, each once
  std::vector<NcclClient> clients;       // in the order of loading
  std::vector<std::string> libraryPath;  // LD_LIBRARY_PATH
  std::string program;                   // argv[0]: the Python of a virtual environment
  std::string virtualEnv;                // VIRTUAL_ENV
  std::string condaPrefix;               // CONDA_PREFIX
  std::vector<std::string> systemPaths;  // libnccl.so.2 in /etc/ld.so.cache
  std::string ncclHome;                  // NCCL_HOME
};

struct VendorPlace {
  std::string path;    // absolute; need not exist
  const char* why;     // "FLEXLINK_NCCL_PATH", ...
  bool named = false;  // by the user, who then means it, whatever it is
};

// The entries of a folder; none where there is no such folder.
using ListFolder = std::function<std::vector<std::string>(const std::string&)>;

// In the order in which they are to be tried; only the named one where one is named.
std::vector<VendorPlace> vendorPlaces(const SearchFacts& facts, const ListFolder& list);

// Paths of libnccl.so.2 in the text of a file like /etc/ld.so.cache. Pure.
std::vector<std::string> pathsInLoaderCache(const std::string& content);

SearchFacts searchFacts(const std::string& named);
std::vector<std::string> listFolder(const std::string& folder);

}  // namespace flexlink
