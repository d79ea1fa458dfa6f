// SPDX-License-Identifier: Apache-2.0
// Reduction ops that the user made (PreMulSum): numbers that belong to one communicator.
#pragma once

#include "base/status.h"
#include "comm/communicator.h"
#include "flexlink/nccl.h"
#include "lane/batch.h"

namespace flexlink {

// Fills op and scalar of the call; its type is set already.
Status resolveOp(Communicator& comm, ncclRedOp_t op, Call* call);

}  // namespace flexlink
