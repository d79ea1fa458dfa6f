// SPDX-License-Identifier: Apache-2.0
#include "device/shared_pins.h"

#include <map>
#include <mutex>

namespace flexlink {
namespace {

struct Pin {
  std::shared_ptr<Device> device;
  int users = 0;
};

struct Pins {
  std::mutex mutex;  // guards all; held while the driver works
  std::map<void*, Pin> all;
};

Pins& pins() {
  static auto* pins = new Pins;
  return *pins;
}

}  // namespace

Status pinShared(const std::shared_ptr<Device>& device, void* begin, size_t bytes) {
  std::lock_guard<std::mutex> lock(pins().mutex);
  Pin& pin = pins().all[begin];
  if (pin.users == 0) {
    Status status = device->pin(begin, bytes);
    if (!status.ok()) {
      pins().all.erase(begin);
      return status;
    }
    pin.device = device;
  }
  ++pin.users;
  return {};
}

Status unpinShared(void* begin) {
  std::lock_guard<std::mutex> lock(pins().mutex);
  const auto found = pins().all.find(begin);
  if (found == pins().all.end()) {
    return makeStatus(Code::kInvalidArgument, "%p is not the start of pinned memory", begin);
  }
  if (--found->second.users != 0) return {};
  const std::shared_ptr<Device> device = std::move(found->second.device);
  pins().all.erase(found);
  return device->unpin(begin);
}

}  // namespace flexlink
