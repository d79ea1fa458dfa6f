// SPDX-License-Identifier: Apache-2.0
// Groups: calls of one thread that are issued together at the outermost end. A lone call is a group
// of one, with a short cut.
#pragma once

#include "comm/shell.h"
#include "device/host/stream.h"
#include "lane/batch.h"

namespace flexlink {

// Issues the call now, or keeps it until the outermost ncclGroupEnd. Its arguments are checked.
Status issue(ncclComm* shell, const Call& call, cudaStream_t stream);

// Inside a group: the outermost end waits for this creation. Outside: waits now, unless the
// communicator is non-blocking. *handle becomes NULL when it fails.
Status issueCreation(ncclComm* shell, ncclComm_t* handle);

// An error of a call inside a group makes its end fail, too.
Status noteInGroup(Status status);

Status groupStart();
Status groupEnd();

// Ends the group as groupEnd() does, but issues none of its calls. *seconds, where it is not null:
// what they would have taken.
Status groupSimulate(double* seconds);

}  // namespace flexlink
