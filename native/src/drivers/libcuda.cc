// SPDX-License-Identifier: Apache-2.0
#include "drivers/libcuda.h"

#include <dlfcn.h>

#include <map>
#include <memory>
#include <mutex>

namespace flexlink {
namespace {

// cuGetProcAddress of CUDA 11.3, and of 12.0 with a fifth parameter that may be null.
using GetAddress = CUresult (*)(const char*, void**, int, uint64_t);
using GetAddressV2 = CUresult (*)(const char*, void**, int, uint64_t, int*);

struct Finder {
  void* library;
  GetAddress getAddress;
  GetAddressV2 getAddressV2;

  explicit Finder(void* opened)
      : library(opened),
        getAddress(reinterpret_cast<GetAddress>(dlsym(opened, "cuGetProcAddress"))),
        getAddressV2(reinterpret_cast<GetAddressV2>(dlsym(opened, "cuGetProcAddress_v2"))) {}

  // nullptr where the driver has no such function.
  template <typename Function>
  void* find(const CudaFunction<Function>& wanted) const {
    if (void* exported = dlsym(library, wanted.name); exported != nullptr) return exported;
    void* found = nullptr;
    CUresult result = kCudaNotSupported;
    if (getAddressV2 != nullptr) {
      result = getAddressV2(wanted.plain, &found, wanted.since, 0, nullptr);
    } else if (getAddress != nullptr) {
      result = getAddress(wanted.plain, &found, wanted.since, 0);
    }
    return result == kCudaSuccess ? found : nullptr;
  }
};

template <typename Function>
void take(const Finder& finder, CudaFunction<Function>& function,
          std::vector<const char*>* missing) {
  function.address = reinterpret_cast<decltype(function.address)>(finder.find(function));
  if (function.address == nullptr) missing->push_back(function.name);
}

Result<const CudaDriver*> load(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return makeStatus(Code::kCuda,
                      "the CUDA driver cannot be opened: %s; it comes with NVIDIA's driver",
                      dlerror());
  }
  auto driver = std::make_unique<CudaDriver>();
  driver->path = path;
  const Finder finder(library);
#define X(member, ...) take(finder, driver->member, &driver->missing);
  FLEXLINK_CUDA_FUNCTIONS(X)
#undef X
  FLEXLINK_TRY(driver->has(driver->init));
  if (driver->driverGetVersion(&driver->version) != kCudaSuccess) driver->version = 0;
  return driver.release();  // never freed: devices may live as long as the process
}

}  // namespace

std::string cudaVersionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Status CudaDriver::lacks(const char* function, int since) const {
  const std::string own =
      version == 0 ? "of unknown version" : "for CUDA " + cudaVersionText(version);
  return makeStatus(Code::kCuda, "%s, a driver %s, has no %s; a driver for CUDA %s or newer has it",
                    path.c_str(), own.c_str(), function, cudaVersionText(since).c_str());
}

Status CudaDriver::failed(const char* function, CUresult result) const {
  const char* text = nullptr;
  const char* name = nullptr;
  if (getErrorString(result, &text) != kCudaSuccess || text == nullptr) text = "unknown error";
  if (getErrorName(result, &name) != kCudaSuccess || name == nullptr) name = "no name";
  return makeStatus(Code::kCuda, "%s: %s (%s, %d)", function, text, name, result);
}

Result<const CudaDriver*> openCudaDriver(const std::string& path) {
  static auto& mutex = *new std::mutex;
  static auto& opened = *new std::map<std::string, Result<const CudaDriver*>>;
  std::lock_guard<std::mutex> lock(mutex);
  auto found = opened.find(path);
  if (found == opened.end()) found = opened.emplace(path, load(path)).first;
  return found->second;
}

}  // namespace flexlink
