// SPDX-License-Identifier: Apache-2.0
// Whose functions stand behind the exported ones: our own, or those of the vendor's libnccl, whose
// communicators the program then holds (pass-through). Decided once, at the first call.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "drivers/libnccl.h"
#include "drivers/vendor_search.h"

namespace flexlink {

// What the decision depends on; what comes late costs something and is asked for only where it
// matters.
struct ModeFacts {
  std::string wish;      // FLEXLINK_PASS_THROUGH: auto, 1 or 0
  std::string device;    // FLEXLINK_DEVICE: host, cuda or empty
  bool isVendor;         // FLEXLINK_NCCL_PATH is this library: it stands in for the vendor
  int cudaDevices = -1;  // -1: nobody has counted them
};

enum class ModeWish {
  kOwn,   // our own, whatever is there
  kAsk,   // count the CUDA devices first
  kPass,  // pass-through where a vendor is found
};

// Pure.
ModeWish wishedMode(const ModeFacts& facts);

// Does this value of CUDA_VISIBLE_DEVICES leave no device? Pure.
bool hidesAllDevices(std::string_view visible);

// How many of these files of /dev are GPUs. Pure.
int deviceFiles(const std::vector<std::string>& names);

// What a place holds.
struct VendorFound {
  const VendorApi* api = nullptr;  // null: nothing that may be used
  std::string what;                // "NCCL 2.32.3", "not there", why it may not be used
};
VendorFound lookAt(const VendorPlace& place);

// For flexlinkVendorPlaces.
std::string vendorPlacesText();

// In own mode: may communicators be made on the process's device? Not where CUDA or the vendor was
// asked for and no vendor was found.
Status mayUseDevice();

// In own mode: may communicators be made on GPUs, whatever the process's device is? Only where the
// vendor was not wanted.
Status mayUseGpus();

namespace internal {
constexpr uintptr_t kUndecided = 0;
constexpr uintptr_t kOwnMode = 1;
// Or the address of the vendor's table. Release in decideMode, acquire by callers.
extern constinit std::atomic<uintptr_t> mode;
const VendorApi* decideMode() noexcept;
}  // namespace internal

// The vendor that calls pass through to; null in own mode. Any thread.
inline const VendorApi* passThrough() noexcept {
  const uintptr_t mode = internal::mode.load(std::memory_order_acquire);
  if (mode == internal::kOwnMode) return nullptr;
  if (mode == internal::kUndecided) [[unlikely]]
    return internal::decideMode();
  return reinterpret_cast<const VendorApi*>(mode);
}

}  // namespace flexlink
