// SPDX-License-Identifier: Apache-2.0
#include "lane/vendor/vendor_comm.h"

#include "lane/vendor/vendor_calls.h"

namespace flexlink {

Status VendorComm::possibleWith(const VendorApi& api) {
  FLEXLINK_TRY(VendorCalls::possibleWith(api));
  bool streams = api.flexlinkStreamCreate != nullptr && api.flexlinkStreamDestroy != nullptr &&
                 api.flexlinkStreamQuery != nullptr;
  if (streams) return {};
  return makeStatus(Code::kInvalidArgument,
                    "no vendor lane with %s: it does not work on host memory", api.path.c_str());
}

Result<std::unique_ptr<VendorComm>> VendorComm::begin(const VendorApi* api, int ranks, int rank,
                                                      const ncclUniqueId& id) {
  std::unique_ptr<VendorComm> comm(new VendorComm(api));
  FLEXLINK_TRY(comm->said("flexlinkStreamCreate", api->flexlinkStreamCreate(&comm->stream_)));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclResult_t result = api->ncclCommInitRankConfig(&comm->handle_, ranks, id, rank, &config);
  FLEXLINK_TRY(comm->said("ncclCommInitRankConfig", result));
  return comm;
}

VendorComm::~VendorComm() {
  if (!ready().ok()) abort();
  if (handle_ != nullptr) (void)api_->ncclCommDestroy(handle_);
  if (stream_ != nullptr) (void)api_->flexlinkStreamDestroy(stream_);
}

Status VendorComm::said(const char* call, ncclResult_t result) const {
  if (taken(result)) return {};
  return makeStatus(static_cast<Code>(result), "%s of the vendor's library %s: %s (%s)", call,
                    api_->path.c_str(), api_->ncclGetErrorString(result),
                    api_->ncclGetLastError(handle_));
}

Status VendorComm::ready() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (handle_ == nullptr) return makeStatus(Code::kInvalidUsage, "the vendor lane was aborted");
  ncclResult_t state = ncclSuccess;
  FLEXLINK_TRY(said("ncclCommGetAsyncError", api_->ncclCommGetAsyncError(handle_, &state)));
  if (state == ncclInProgress) return Status::inProgress();
  return said("a call", state);
}

Status VendorComm::done() {
  ncclResult_t result = api_->flexlinkStreamQuery(stream_);
  if (result == ncclInProgress) return Status::inProgress();
  return said("a call", result);
}

void VendorComm::abort() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (handle_ != nullptr) (void)api_->ncclCommAbort(handle_);
  handle_ = nullptr;
}

}  // namespace flexlink
