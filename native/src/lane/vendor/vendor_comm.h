// SPDX-License-Identifier: Apache-2.0
// One rank's communicator in the vendor's library, with a stream of its own. Made without blocking.
#pragma once

#include <memory>
#include <mutex>

#include "drivers/libnccl.h"

namespace flexlink {

class VendorComm {
 public:
  // Does this library have what the lane calls? The error names what is missing.
  static Status possibleWith(const VendorApi& api);

  // Begins to make it; ready() tells when it is there.
  static Result<std::unique_ptr<VendorComm>> begin(const VendorApi* api, int ranks, int rank,
                                                   const ncclUniqueId& id);

  // Destroys it; where it was not finished or has failed, as abort() does. Waits for its work.
  ~VendorComm();
  VendorComm(const VendorComm&) = delete;
  VendorComm& operator=(const VendorComm&) = delete;

  // Ok: it may be used, and what was called has been enqueued. kInProgress: not yet. Any thread.
  Status ready();

  // Runs calls(handle, stream) as one group. Any thread; not beside abort().
  template <typename Calls>
  Status group(Calls&& calls) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (handle_ == nullptr) return makeStatus(Code::kInvalidUsage, "the vendor lane was aborted");
    FLEXLINK_TRY(said("ncclGroupStart", api_->ncclGroupStart()));
    Status called = calls(handle_, stream_);
    Status ended = said("ncclGroupEnd", api_->ncclGroupEnd());
    return called.ok() ? ended : called;
  }

  // Is all that was enqueued done? kInProgress: no.
  Status done();

  // What is under way ends with an error, soon. Any thread, several times.
  void abort();

  const VendorApi& api() const { return *api_; }

  // A result of the vendor as a Status; kInProgress is ok: ready() tells the rest.
  Status said(const char* call, ncclResult_t result) const;

 private:
  explicit VendorComm(const VendorApi* api) : api_(api) {}

  const VendorApi* const api_;
  cudaStream_t stream_ = nullptr;
  std::mutex mutex_;  // guards handle_, and calls on it against abort(); a leaf lock
  ncclComm_t handle_ = nullptr;
};

}  // namespace flexlink
