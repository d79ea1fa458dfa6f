// SPDX-License-Identifier: Apache-2.0
#include "api/mode.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>

#include "base/log.h"
#include "base/settings.h"
#include "comm/side.h"
#include "drivers/libcuda.h"

namespace flexlink {
namespace {

constexpr const char* kNotThere = "not there";

// What stands against communicators of our own. Written before internal::mode, read after it.
struct Refusals {
  Status device;  // on the process's device
  Status gpus;    // on GPUs
};
Refusals& refusals() {
  static auto* refusals = new Refusals;
  return *refusals;
}

Status offGpus(const std::string& why) {
  return makeStatus(Code::kInvalidUsage, "no communicator can be made on a GPU: %s", why.c_str());
}

// Where our own functions were to be taken from the start.
Status ownOffGpus() {
  if (settings().device == "host") return offGpus("FLEXLINK_DEVICE=host");
  if (settings().passThrough == "0" || isThisLibrary(settings().vendorPath)) return {};
  return offGpus("there is none (libcuda.so.1, /dev/nvidia*, CUDA_VISIBLE_DEVICES)");
}

// Without starting CUDA, after which a forked child could not use it: where nobody has started it
// yet, the devices' files are counted.
int cudaDevices() {
  Result<const CudaDriver*> driver = openCudaDriver();
  int count = 0;
  if (!driver.ok()) return 0;
  if (driver.value()->deviceGetCount(&count) == kCudaSuccess) return count;
  const char* visible = getenv("CUDA_VISIBLE_DEVICES");
  return visible != nullptr && hidesAllDevices(visible) ? 0 : deviceFiles(listFolder("/dev"));
}

ModeWish askedMode() {
  ModeFacts facts{settings().passThrough, settings().device, isThisLibrary(settings().vendorPath),
                  -1};
  ModeWish wish = wishedMode(facts);
  if (wish != ModeWish::kAsk) return wish;
  facts.cudaDevices = cudaDevices();
  return wishedMode(facts);
}

const VendorApi* useVendor(const VendorApi* vendor, const char* why) {
  const Result<SideWish>& wish = sideWish(*vendor);
  const std::string lanes = wish.ok() ? "vendor, and ours beside it where all ranks have them"
                                      : std::string("vendor (") + wish.status().text() + ")";
  FLEXLINK_INFO(kInit, "every call passes through to %s, NCCL %s (%s); lanes: %s",
                vendor->path.c_str(), versionText(vendor->version).c_str(), why, lanes.c_str());
  return vendor;
}

// Null: own mode.
const VendorApi* choose() {
  if (askedMode() == ModeWish::kOwn) {
    refusals().gpus = ownOffGpus();
    return nullptr;
  }
  std::string tried;  // but for where nothing is, which is nearly everywhere
  for (const VendorPlace& place : vendorPlaces(searchFacts(settings().vendorPath), listFolder)) {
    VendorFound found = lookAt(place);
    if (found.api != nullptr) return useVendor(found.api, place.why);
    FLEXLINK_INFO(kInit, "no vendor's library at %s (%s): %s", place.path.c_str(), place.why,
                  found.what.c_str());
    if (found.what != kNotThere) tried += "; " + place.path + ": " + found.what;
  }
  const bool cuda = settings().device == "cuda";
  const char* because = cuda                            ? "FLEXLINK_DEVICE=cuda"
                        : settings().passThrough == "1" ? "FLEXLINK_PASS_THROUGH=1"
                                                        : nullptr;
  const std::string missing =
      "the vendor's libnccl.so.2 is not found: install its wheel (nvidia-nccl-cu13) or set "
      "FLEXLINK_NCCL_PATH; NCCL_DEBUG=INFO says where it was looked for" +
      tried;
  const std::string instead =
      "; FLEXLINK_PASS_THROUGH=0 runs our own lanes on the GPUs of one host";
  refusals().gpus = offGpus(missing + instead);
  if (because == nullptr) return nullptr;  // nobody has asked for it
  refusals().device = makeStatus(Code::kInvalidUsage, "%s, but %s%s", because, missing.c_str(),
                                 cuda ? instead.c_str() : "");
  return nullptr;
}

}  // namespace

bool hidesAllDevices(std::string_view visible) {
  return visible.empty() || visible.starts_with(',') || visible.starts_with('-');
}

int deviceFiles(const std::vector<std::string>& names) {
  constexpr std::string_view kName = "nvidia";  // nvidia0, nvidia1, ...
  return static_cast<int>(std::count_if(names.begin(), names.end(), [&](const std::string& name) {
    if (name == "dxg") return true;  // of the Windows that this Linux runs in
    return name.size() > kName.size() && name.starts_with(kName) &&
           name.find_first_not_of("0123456789", kName.size()) == std::string::npos;
  }));
}

ModeWish wishedMode(const ModeFacts& facts) {
  if (facts.isVendor || facts.wish == "0") return ModeWish::kOwn;
  if (facts.wish == "1" || facts.device == "cuda") return ModeWish::kPass;
  if (facts.device == "host") return ModeWish::kOwn;
  if (facts.cudaDevices < 0) return ModeWish::kAsk;
  return facts.cudaDevices > 0 ? ModeWish::kPass : ModeWish::kOwn;
}

VendorFound lookAt(const VendorPlace& place) {
  if (access(place.path.c_str(), F_OK) != 0 && !place.named) return {nullptr, kNotThere};
  if (isThisLibrary(place.path)) return {nullptr, "this library itself"};
  Result<const VendorApi*> opened = openVendor(place.path);
  if (!opened.ok()) return {nullptr, opened.status().text()};
  const VendorApi* api = opened.value();
  if (api->isFlexlink && !place.named) return {nullptr, "a copy of FlexLink"};
  return {api, "NCCL " + versionText(api->version) + (api->isFlexlink ? ", of FlexLink" : "")};
}

std::string vendorPlacesText() {
  std::string text;
  for (const VendorPlace& place : vendorPlaces(searchFacts(settings().vendorPath), listFolder)) {
    VendorFound found = lookAt(place);
    text += place.path + "\t" + place.why + "\t" + found.what + "\n";
    if (found.api != nullptr) break;
  }
  return text;
}

Status mayUseDevice() { return refusals().device; }

Status mayUseGpus() { return refusals().gpus; }

namespace internal {

constinit std::atomic<uintptr_t> mode{kUndecided};

const VendorApi* decideMode() noexcept {
  static constinit std::mutex mutex;
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
