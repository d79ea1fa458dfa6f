// SPDX-License-Identifier: Apache-2.0
// ncclConfig_t and ncclCollConfig_t as clients of any version pass them. Pure, but for the
// settings.
#pragma once

#include "base/status.h"
#include "comm/communicator.h"
#include "flexlink/nccl.h"

namespace flexlink {

CommConfig defaultConfig();

// Overrides *out with what the caller has set. NULL sets nothing; an older, shorter struct sets
// what its version knows; a longer one is cut.
Status readConfig(const ncclConfig_t* config, CommConfig* out);

// Was it initialized? NULL is good.
Status checkCollConfig(const ncclCollConfig_t* config);

}  // namespace flexlink
