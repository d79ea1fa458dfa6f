// SPDX-License-Identifier: Apache-2.0
// In pass-through: the functions that make, end and settle the vendor's communicators. Each hands
// its call over as it is and keeps the records of comm/passed_comms.h.
#pragma once

#include "drivers/nccl_functions.h"

namespace flexlink::life {

#define X(result, name, parameters, ...) result name parameters noexcept;
FLEXLINK_NCCL_LIFE(X)
FLEXLINK_HOST_LIFE(X)
#undef X

}  // namespace flexlink::life
