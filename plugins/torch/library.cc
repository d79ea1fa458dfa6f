// SPDX-License-Identifier: Apache-2.0
#include "library.h"

#include <c10/util/Exception.h>
#include <dlfcn.h>

namespace flexlink::pytorch {
namespace {

Library& table() {
  static Library functions;
  return functions;
}

bool opened = false;  // with the caller's lock

}  // namespace

void openLibrary(const std::string& path) {
  if (opened) return;
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    C10_THROW_ERROR(DistBackendError,
                    "flexlink: cannot open the library: " + std::string(dlerror()));
  }
  Library found;
  const char* missing = nullptr;
#define FLEXLINK_TORCH_LOOKUP(name)                                       \
  found.name = reinterpret_cast<decltype(&::name)>(dlsym(handle, #name)); \
  if (found.name == nullptr) missing = #name;
  FLEXLINK_TORCH_FUNCTIONS(FLEXLINK_TORCH_LOOKUP)
#undef FLEXLINK_TORCH_LOOKUP
  if (missing != nullptr) {
    C10_THROW_ERROR(DistBackendError, "flexlink: " + path + " does not export " + missing +
                                          "; the plugin and the library are of different versions");
  }
  table() = found;
  opened = true;
}

const Library& library() { return table(); }

std::string failureText(ncclResult_t result, const char* what) {
  const char* text = library().ncclGetLastError(nullptr);
  std::string said = text != nullptr && *text != 0 ? text : library().ncclGetErrorString(result);
  return "flexlink: " + std::string(what) + " failed: " + said;
}

void check(ncclResult_t result, const char* what) {
  if (result == ncclSuccess || result == ncclInProgress) return;
  C10_THROW_ERROR(DistBackendError, failureText(result, what));
}

}  // namespace flexlink::pytorch
