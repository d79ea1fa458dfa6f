// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/devices.h"

#include <map>
#include <mutex>

namespace flexlink {

Result<std::shared_ptr<CudaDevice>> cudaDevice(int ordinal) {
  static std::mutex mutex;  // guards made; held while one is being made
  static auto* made = new std::map<int, std::shared_ptr<CudaDevice>>;
  FLEXLINK_TRY_ASSIGN(const CudaDriver* driver, openCudaDriver());
  if (ordinal < 0) {
    FLEXLINK_TRY_ASSIGN(ordinal, CudaDevice::current(*driver));
  }
  std::lock_guard<std::mutex> lock(mutex);
  const auto found = made->find(ordinal);
  if (found != made->end()) return found->second;
  FLEXLINK_TRY_ASSIGN(std::shared_ptr<CudaDevice> device, CudaDevice::create(*driver, ordinal));
  (*made)[ordinal] = device;
  return device;
}

}  // namespace flexlink
