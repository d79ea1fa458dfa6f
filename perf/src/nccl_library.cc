// SPDX-License-Identifier: Apache-2.0
// dlopen and dlsym for nccl_library.h.
#include "nccl_library.h"

#include <dlfcn.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <filesystem>

namespace flexlink::perf {
namespace {

std::filesystem::path programFolder() {
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  if (length <= 0) return ".";
  return std::filesystem::path(std::string(path, static_cast<size_t>(length))).parent_path();
}

}  // namespace

std::string NcclLibrary::describe() const {
  std::string nccl = "NCCL " + std::to_string(version / 10000) + "." +
                     std::to_string(version / 100 % 100) + "." + std::to_string(version % 100);
  if (!flexlinkGetVersion) return nccl;
  return std::string("FlexLink ") + flexlinkGetVersion() + " (" + nccl + ")";
}

std::string NcclLibrary::explain(ncclResult_t result) const {
  std::string text = ncclGetErrorString(result);
  const char* last = ncclGetLastError ? ncclGetLastError(nullptr) : nullptr;
  if (last && *last) text += std::string(": ") + last;
  return text;
}

std::string libraryPath(const std::string& asked) {
  if (!asked.empty()) return asked;
  if (const char* path = std::getenv("FLEXLINK_LIBRARY"); path && *path) return path;
  const std::filesystem::path folder = programFolder();
  for (const auto& candidate :
       {folder / "libflexlink.so", folder.parent_path() / "libflexlink.so"}) {
    if (std::filesystem::exists(candidate)) return candidate.string();
  }
  return "libflexlink.so";
}

bool openLibrary(const std::string& path, NcclLibrary* library, std::string* error) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    *error = "cannot open the library to measure: " + std::string(dlerror()) +
             "\nName one with --library PATH or FLEXLINK_LIBRARY.";
    return false;
  }
  library->path = path;
#define X(name) library->name = reinterpret_cast<decltype(&::name)>(dlsym(handle, #name));
  FLEXLINK_PERF_NEEDED(X)
  FLEXLINK_PERF_OPTIONAL(X)
#undef X
#define X(name)                                                                          \
  if (!library->name) {                                                                  \
    *error = path + " has no function " #name ": it is not a libnccl of 2.14 or later."; \
    return false;                                                                        \
  }
  FLEXLINK_PERF_NEEDED(X)
#undef X
  if (library->ncclGetVersion(&library->version) != ncclSuccess) {
    *error = path + ": ncclGetVersion failed.";
    return false;
  }
  return true;
}

}  // namespace flexlink::perf
