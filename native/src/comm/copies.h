// SPDX-License-Identifier: Apache-2.0
// What moves the bytes between ranks of one host where the ranks' threads do not (FLEXLINK_COPIES).
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace flexlink {

// Null: the threads do. Once the peers' segments are mapped.
Result<std::unique_ptr<CopyStream>> openCopies(const CommParts& parts);

}  // namespace flexlink
