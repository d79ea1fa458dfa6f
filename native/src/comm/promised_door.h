// SPDX-License-Identifier: Apache-2.0
// NCCL_COMM_ID: where rank 0 is to be met, known to all ranks before anybody listens there. No id
// travels: every rank makes the same one.
#pragma once

#include "comm/unique_id.h"

namespace flexlink {

// Of the door that is `beyond` ports beyond the address that the user has given. Waits for the name
// of rank 0, which a name service may know only a while after the start.
Result<UniqueId> promisedId(int beyond = 0);

// Rank 0 keeps that door; once for a process and address.
Status openPromisedDoor(const UniqueId& id);

}  // namespace flexlink
