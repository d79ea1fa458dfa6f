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
  return makeStatus(Code::kInvalidArgument, "no vendor lane with %s (FLEXLINK_NCCL_PATH): %s",
                    path.c_str(), why.c_str());
}

Result<const VendorApi*> load(const std::string& path) {
  if (isThisLibrary(path)) return unusable(path, "it is this library itself");
  void* library = dlopen(path.c_str(), kMode);
  if (library == nullptr) return unusable(path, dlerror());
  auto api = std::make_unique<VendorApi>();
  api->path = path;
  auto find = [&](auto& function, const char* name) {
    void* found = dlsym(library, name);
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(found);
    return found != nullptr;
  };
#define X(member, name) \
  if (!find(api->member, #name)) return unusable(path, "it has no " #name);
  FLEXLINK_VENDOR_FUNCTIONS(X)
#undef X
#define X(member, name) \
  if (!find(api->member, #name)) return unusable(path, "it does not work on host memory");
  FLEXLINK_HOST_STREAM_FUNCTIONS(X)
#undef X
#define X(member, name) (void)find(api->member, #name);
  FLEXLINK_NEWER_VENDOR_FUNCTIONS(X)
#undef X
  if (api->getVersion(&api->version) != ncclSuccess) return unusable(path, "it has no version");
  return api.release();  // never freed: communicators may live as long as the process
}

}  // namespace

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
