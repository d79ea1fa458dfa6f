// SPDX-License-Identifier: Apache-2.0
// From the handles of the C API to the things behind them, with the checks that every call needs.
#pragma once

#include <memory>

#include "base/status.h"
#include "comm/shell.h"
#include "device/host/stream.h"
#include "engine/stream_mirror.h"

namespace flexlink {

// A communicator that is or was ready; an error for what is none, and in a forked child.
Result<ncclComm*> checkedShell(ncclComm_t comm);

// As checkedShell, and it must be ready to be used: not connecting, not destroyed.
Result<ncclComm*> readyShell(ncclComm_t comm);

// nullptr for the NULL stream; an error for a handle that flexlinkStreamCreate did not make.
Result<std::shared_ptr<HostStream>> checkedStream(cudaStream_t stream);

// Where a call on this communicator lies.
struct CallStream {
  std::shared_ptr<HostStream> order;  // nullptr: NULL, on host memory
  StreamMirror* mirror = nullptr;     // of the GPU's stream that `order` stands for
};
Result<CallStream> checkedStream(const ncclComm* shell, cudaStream_t stream);

// Runs body(Communicator&) with the progress lock.
template <typename Body>
Status withCommunicator(ncclComm_t comm, Body&& body) {
  FLEXLINK_TRY_ASSIGN(ncclComm * shell, readyShell(comm));
  ShellLock lock(shell);
  if (!shell->impl) return makeStatus(Code::kInvalidArgument, "the communicator was destroyed");
  return body(*shell->impl);
}

}  // namespace flexlink
