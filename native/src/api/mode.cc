// SPDX-License-Identifier: Apache-2.0
#include "api/mode.h"

#include <unistd.h>

#include <mutex>

#include "base/log.h"
#include "base/settings.h"
#include "comm/side.h"
#include "drivers/libcuda.h"

namespace flexlink {
namespace {

// Written before internal::mode, read after it.
Status& refusal() {
  static Status* refusal = new Status;
  return *refusal;
}

// It starts CUDA in this process.
int cudaDevices() {
  Result<const CudaDriver*> driver = openCudaDriver();
  int count = 0;
  if (!driver.ok() || !driver.value()->run(driver.value()->init, 0u).ok()) return 0;
  return driver.value()->run(driver.value()->deviceGetCount, &count).ok() ? count : 0;
}

ModeWish askedMode() {
  ModeFacts facts{settings().passThrough, settings().device, isThisLibrary(settings().vendorPath),
                  -1};
  ModeWish wish = wishedMode(facts);
  if (wish != ModeWish::kAsk) return wish;
  facts.cudaDevices = cudaDevices();
  return wishedMode(facts);
}

// Null: own mode.
const VendorApi* choose() {
  if (askedMode() == ModeWish::kOwn) return nullptr;
  std::string tried;
  std::vector<VendorPlace> places = vendorPlaces(searchFacts(settings().vendorPath), listFolder);
  FoundVendor found = findVendor(places, &tried);
  if (found.api != nullptr) {
    FLEXLINK_INFO(
        kInit, "every call passes through to %s, NCCL %s (%s); lanes: vendor%s",
        found.api->path.c_str(), versionText(found.api->version).c_str(), found.why,
        sideShares(*found.api) ? ", and ours beside it where all ranks have them" : " alone");
    return found.api;
  }
  bool asked = settings().device == "cuda" || settings().passThrough == "1";
  const char* because = settings().device == "cuda" ? "FLEXLINK_DEVICE=cuda"
                        : asked                     ? "FLEXLINK_PASS_THROUGH=1"
                                                    : "a GPU is there";
  Status none = makeStatus(Code::kInvalidUsage,
                           "%s, but the vendor's libnccl.so.2 is not found: install its wheel "
                           "(nvidia-nccl-cu13) or set FLEXLINK_NCCL_PATH. Looked at %zu places%s",
                           because, places.size(), tried.c_str());
  FLEXLINK_INFO(kInit, "%s", none.text());
  for (const VendorPlace& place : places) {
    FLEXLINK_INFO(kInit, "looked for the vendor's library: %s (%s)", place.path.c_str(), place.why);
  }
  if (asked) refusal() = none;
  return nullptr;
}

}  // namespace

ModeWish wishedMode(const ModeFacts& facts) {
  if (facts.isVendor || facts.wish == "0") return ModeWish::kOwn;
  if (facts.wish == "1" || facts.device == "cuda") return ModeWish::kPass;
  if (facts.device == "host") return ModeWish::kOwn;
  if (facts.cudaDevices < 0) return ModeWish::kAsk;
  return facts.cudaDevices > 0 ? ModeWish::kPass : ModeWish::kOwn;
}

FoundVendor findVendor(const std::vector<VendorPlace>& places, std::string* tried) {
  for (const VendorPlace& place : places) {
    if (!place.named && (access(place.path.c_str(), R_OK) != 0 || isThisLibrary(place.path)))
      continue;
    Result<const VendorApi*> opened = openVendor(place.path);
    if (opened.ok() && (place.named || !opened.value()->isFlexlink))
      return {opened.value(), place.why};
    *tried += std::string("; ") + (opened.ok() ? place.path + " is a copy of FlexLink"
                                               : std::string(opened.status().text()));
  }
  return {};
}

Status mayCreate() { return refusal(); }

namespace internal {

constinit std::atomic<uintptr_t> mode{kUndecided};

const VendorApi* decideMode() noexcept {
  static auto& mutex = *new std::mutex;
  std::lock_guard<std::mutex> lock(mutex);
  uintptr_t decided = mode.load(std::memory_order_acquire);
  if (decided == kUndecided) {
    const VendorApi* vendor = nullptr;
    try {
      vendor = choose();
    } catch (...) {  // no memory: our own functions say so better
    }
    decided = vendor == nullptr ? kOwnMode : reinterpret_cast<uintptr_t>(vendor);
    mode.store(decided, std::memory_order_release);
  }
  return decided == kOwnMode ? nullptr : reinterpret_cast<const VendorApi*>(decided);
}

}  // namespace internal

}  // namespace flexlink
