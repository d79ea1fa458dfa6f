// SPDX-License-Identifier: Apache-2.0
#include "api/handles.h"

namespace flexlink {

Result<ncclComm*> checkedShell(ncclComm_t comm) {
  if (inForkedChild()) {
    return makeStatus(
        Code::kInvalidUsage,
        "this process was forked from one that uses FlexLink; start ranks with spawn or "
        "exec, not with fork alone");
  }
  ncclComm* shell = shellOf(comm);
  if (shell == nullptr) {
    return makeStatus(Code::kInvalidArgument, comm == nullptr
                                                  ? "the communicator is NULL"
                                                  : "this is no communicator, or it was destroyed");
  }
  return shell;
}

Result<ncclComm*> readyShell(ncclComm_t comm) {
  FLEXLINK_TRY_ASSIGN(ncclComm * shell, checkedShell(comm));
  switch (shell->state.load(std::memory_order_acquire)) {  // pairs with Creation's release
    case ncclComm::State::kReady:
      return shell;
    case ncclComm::State::kConnecting:
      return makeStatus(
          Code::kInvalidArgument,
          "the communicator is still being created; poll ncclCommGetAsyncError until it "
          "no longer says ncclInProgress");
    case ncclComm::State::kFailed:
      return Status(shell->creationFailure);
    case ncclComm::State::kGone:
      break;
  }
  return makeStatus(Code::kInvalidArgument, "the communicator was destroyed");
}

Result<std::shared_ptr<HostStream>> checkedStream(cudaStream_t stream) {
  if (stream == nullptr) return std::shared_ptr<HostStream>();
  std::shared_ptr<HostStream> found = findStream(stream);
  if (found) return found;
  return makeStatus(Code::kInvalidArgument,
                    "stream %p was not made by flexlinkStreamCreate; a communicator on host memory "
                    "takes NULL or such a stream",
                    static_cast<void*>(stream));
}

// A driver does not survive being asked about what is no stream of its own.
Result<CallStream> checkedStream(const ncclComm* shell, cudaStream_t stream) {
  CallStream found;
  if (shell->gpu == nullptr) {
    FLEXLINK_TRY_ASSIGN(found.order, checkedStream(stream));
    return found;
  }
  FLEXLINK_TRY_ASSIGN(found.mirror, StreamMirror::of(shell->gpu, stream));
  found.order = found.mirror->order();
  return found;
}

}  // namespace flexlink
