// SPDX-License-Identifier: Apache-2.0
// Which NCCL this library stands for, which FlexLink it is, and the call that makes the log read
// its settings again.
#include "api/export.h"
#include "base/log.h"
#include "device/cuda/kernel_image.h"

FLEXLINK_API(ncclResult_t, ncclGetVersion, (int* version)) {
  return flexlink::guarded([&]() -> flexlink::Status {
    if (version == nullptr) {
      return {flexlink::Code::kInvalidArgument,
              "ncclGetVersion: version is NULL; pass the address of an int"};
    }
    *version = NCCL_VERSION_CODE;
    return {};
  });
}

FLEXLINK_API(void, ncclResetDebugInit, (void)) {
  static_cast<void>(flexlink::guarded([]() -> flexlink::Status {
    flexlink::logReset();
    return {};
  }));
}

FLEXLINK_OWN_API(const char*, flexlinkGetVersion, (void)) { return "0.1.0"; }

FLEXLINK_OWN_API(const char*, flexlinkCudaKernels, (void)) { return flexlink::kernelImage().text; }
