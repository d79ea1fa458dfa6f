// SPDX-License-Identifier: Apache-2.0
#include "lane/vendor/vendor_comm.h"

namespace flexlink {

Result<std::unique_ptr<VendorComm>> VendorComm::begin(const VendorApi* api, int ranks, int rank,
                                                      const ncclUniqueId& id) {
  std::unique_ptr<VendorComm> comm(new VendorComm(api));
  FLEXLINK_TRY(comm->said("flexlinkStreamCreate", api->streamCreate(&comm->stream_)));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclResult_t result = api->commInitRankConfig(&comm->handle_, ranks, id, rank, &config);
  FLEXLINK_TRY(comm->said("ncclCommInitRankConfig", result));
  return comm;
}

VendorComm::~VendorComm() {
  if (!ready().ok()) abort();
  if (handle_ != nullptr) (void)api_->commDestroy(handle_);
  if (stream_ != nullptr) (void)api_->streamDestroy(stream_);
}

Status VendorComm::said(const char* call, ncclResult_t result) const {
  if (result == ncclSuccess || result == ncclInProgress) return {};
  return makeStatus(static_cast<Code>(result), "%s of the vendor's library %s: %s (%s)", call,
                    api_->path.c_str(), api_->getErrorString(result), api_->getLastError(handle_));
}

Status VendorComm::ready() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (handle_ == nullptr) return makeStatus(Code::kInvalidUsage, "the vendor lane was aborted");
  ncclResult_t state = ncclSuccess;
  FLEXLINK_TRY(said("ncclCommGetAsyncError", api_->commGetAsyncError(handle_, &state)));
  if (state == ncclInProgress) return Status::inProgress();
  return said("a call", state);
}

Status VendorComm::done() {
  ncclResult_t result = api_->streamQuery(stream_);
  if (result == ncclInProgress) return Status::inProgress();
  return said("a call", result);
}

void VendorComm::abort() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (handle_ != nullptr) (void)api_->commAbort(handle_);
  handle_ = nullptr;
}

}  // namespace flexlink
