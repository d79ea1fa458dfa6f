// SPDX-License-Identifier: Apache-2.0
// What moves the bytes between ranks of one host where the ranks' threads do not (FLEXLINK_COPIES).
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace flexlink {

// Null: the threads do. Once the peers' segments are mapped.
Result<std::unique_ptr<CopyStream>> openCopies(const CommParts& parts);

// On GPUs, where bytes then wait: this rank's own memory on its GPU, announced in its card; that of
// its peers, reached and tried. Where one of them cannot be had, the log says why, and all ranks
// drop it together: pinned memory of the host serves, too.
void makeStaging(CommParts* parts, RankCard* card);
void reachStaging(CommParts* parts);
void dropStaging(CommParts* parts);

}  // namespace flexlink
