// SPDX-License-Identifier: Apache-2.0
#include "api/config.h"

#include <string.h>

#include <algorithm>
#include <cstddef>

#include "base/settings.h"

namespace flexlink {

CommConfig defaultConfig() { return {}; }

Status readConfig(const ncclConfig_t* config, CommConfig* out) {
  constexpr size_t kFirstSize = offsetof(ncclConfig_t, cgaClusterSize);
  constexpr unsigned kNamedSince = NCCL_VERSION(2, 27, 0);
  if (config != nullptr) {
    if (config->size < kFirstSize || config->magic != NCCL_API_MAGIC) {
      return makeStatus(Code::kInvalidArgument,
                        "ncclConfig_t argument not initialized via NCCL_CONFIG_INITIALIZER");
    }
    ncclConfig_t known = NCCL_CONFIG_INITIALIZER;
    memcpy(static_cast<void*>(&known), config, std::min(config->size, sizeof known));
    if (known.blocking != NCCL_CONFIG_UNDEF_INT && known.blocking != 0 && known.blocking != 1) {
      return makeStatus(Code::kInvalidArgument, "ncclConfig_t.blocking is %d, not 0 or 1",
                        known.blocking);
    }
    if (known.blocking != NCCL_CONFIG_UNDEF_INT) out->blocking = known.blocking != 0;
    bool named = config->size > offsetof(ncclConfig_t, commName) + sizeof known.commName - 1 &&
                 config->version >= kNamedSince;
    if (named && known.commName != nullptr) out->name = known.commName;
  }
  if (settings().commBlocking >= 0) out->blocking = settings().commBlocking != 0;
  return {};
}

Status checkCollConfig(const ncclCollConfig_t* config) {
  if (config == nullptr) return {};
  constexpr size_t kFirstSize = 64;  // of ncclCollConfig_t in 2.31, its first version
  if (config->size < kFirstSize || config->magic != NCCL_API_MAGIC) {
    return makeStatus(Code::kInvalidArgument,
                      "ncclCollConfig_t argument not initialized via NCCL_COLLCONFIG_INITIALIZER");
  }
  return {};
}

}  // namespace flexlink
