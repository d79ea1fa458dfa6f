// SPDX-License-Identifier: Apache-2.0
#include "drivers/libnccl.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include <map>
#include <memory>
#include <mutex>

namespace flexlink {
namespace {

// The vendor's own calls go to the vendor, whatever was loaded before it. Sanitizers refuse that.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kMode = RTLD_NOW | RTLD_LOCAL;
#else
constexpr int kMode = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
#endif

Status unusable(const std::string& path, const std::string& why) {
  return makeStatus(Code::kInvalidArgument, "%s is not to be had as the vendor's library: %s",
                    path.c_str(), why.c_str());
}

Result<const VendorApi*> load(const std::string& path) {
  if (!path.starts_with('/')) return unusable(path, "it is no absolute path");
  if (isThisLibrary(path)) return unusable(path, "it is this library itself");
  void* library = dlopen(path.c_str(), kMode);
  if (library == nullptr) return unusable(path, dlerror());
  auto api = std::make_unique<VendorApi>();
  api->path = path;
#define X(result, name, ...) \
  api->name = reinterpret_cast<decltype(api->name)>(dlsym(library, #name));
  FLEXLINK_NCCL_FUNCTIONS(X)
  FLEXLINK_HOST_FUNCTIONS(X)
#undef X
  api->isFlexlink = dlsym(library, "flexlinkGetVersion") != nullptr;
  InsideVendor inside;
  if (api->ncclGetVersion == nullptr || api->ncclGetVersion(&api->version) != ncclSuccess) {
    return unusable(path, "it has no ncclGetVersion, or that fails");
  }
  return api.release();  // never freed: communicators may live as long as the process
}

}  // namespace

std::string versionText(int version) {
  const int thousand = version < 10000 ? 1000 : 10000;  // as it was up to 2.8
  return std::to_string(version / thousand) + "." + std::to_string(version % thousand / 100) + "." +
         std::to_string(version % 100);
}

bool isThisLibrary(const std::string& path) {
  Dl_info self{};
  struct stat mine {};
  struct stat other {};
  if (dladdr(reinterpret_cast<const void*>(&isThisLibrary), &self) == 0) return false;
  return stat(self.dli_fname, &mine) == 0 && stat(path.c_str(), &other) == 0 &&
         mine.st_dev == other.st_dev && mine.st_ino == other.st_ino;
}

Result<const VendorApi*> openVendor(const std::string& path) {
  static auto& mutex = *new std::mutex;
  static auto& opened = *new std::map<std::string, Result<const VendorApi*>>;
  std::lock_guard<std::mutex> lock(mutex);
  auto found = opened.find(path);
  if (found == opened.end()) found = opened.emplace(path, load(path)).first;
  return found->second;
}

}  // namespace flexlink
