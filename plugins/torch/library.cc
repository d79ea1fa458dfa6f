// SPDX-License-Identifier: Apache-2.0
#include "library.h"

#include <c10/util/Exception.h>
#include <dlfcn.h>

namespace flexlink::pytorch {
namespace {

using Lookup = decltype(&flexlinkFunctionOn);

// With the lock of openLibrary's caller.
Lookup lookup = nullptr;
Library host;

// Returns the name of NCCL's API that the library lacks, or null.
const char* fill(Library* table, flexlinkDevice_t device) {
  const char* missing = nullptr;
#define FLEXLINK_TORCH_LOOKUP(name)                                         \
  table->name = reinterpret_cast<decltype(&::name)>(lookup(device, #name)); \
  if (table->name == nullptr && #name[0] == 'n') missing = #name;
  FLEXLINK_TORCH_FUNCTIONS(FLEXLINK_TORCH_LOOKUP)
#undef FLEXLINK_TORCH_LOOKUP
  return missing;
}

}  // namespace

void openLibrary(const std::string& path) {
  if (lookup != nullptr) return;
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    C10_THROW_ERROR(DistBackendError,
                    "flexlink: cannot open the library: " + std::string(dlerror()));
  }
  lookup = reinterpret_cast<Lookup>(dlsym(handle, "flexlinkFunctionOn"));
  const char* missing = lookup == nullptr ? "flexlinkFunctionOn" : fill(&host, flexlinkHost);
  if (missing == nullptr) return;
  lookup = nullptr;
  C10_THROW_ERROR(DistBackendError, "flexlink: " + path + " does not have " + missing +
                                        "; the plugin and the library are of different versions");
}

const Library& hostLibrary() { return host; }

const Library& gpuLibrary() {
  static const Library gpu = [] {
    Library table;
    fill(&table, flexlinkCuda);
    return table;
  }();
  return gpu;
}

std::string Library::failureText(ncclResult_t result, const char* what) const {
  const char* text = ncclGetLastError(nullptr);
  std::string said = text != nullptr && *text != 0 ? text : ncclGetErrorString(result);
  return "flexlink: " + std::string(what) + " failed: " + said;
}

void Library::check(ncclResult_t result, const char* what) const {
  if (result == ncclSuccess || result == ncclInProgress) return;
  C10_THROW_ERROR(DistBackendError, failureText(result, what));
}

}  // namespace flexlink::pytorch
