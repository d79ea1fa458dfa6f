// SPDX-License-Identifier: Apache-2.0
#include "lane/vendor/vendor_comm.h"

#include <string>

namespace flexlink {

Status VendorComm::possibleWith(const VendorApi& api) {
  struct Need {
    bool there;
    const char* name;
  };
#define NEED(name) \
  Need { api.name != nullptr, #name }
  const Need needs[] = {NEED(ncclGetErrorString),
                        NEED(ncclGetLastError),
                        NEED(ncclGetUniqueId),
                        NEED(ncclCommInitRankConfig),
                        NEED(ncclCommGetAsyncError),
                        NEED(ncclCommAbort),
                        NEED(ncclCommDestroy),
                        NEED(ncclGroupStart),
                        NEED(ncclGroupEnd),
                        NEED(ncclAllGather),
                        NEED(ncclReduceScatter),
                        NEED(ncclAllReduce),
                        NEED(ncclBroadcast),
                        NEED(ncclReduce),
                        NEED(ncclSend),
                        NEED(ncclRecv),
                        NEED(ncclRedOpCreatePreMulSum),
                        NEED(ncclRedOpDestroy)};
#undef NEED
  auto lacks = [&](const std::string& what) {
    return makeStatus(Code::kInvalidArgument, "no vendor lane with %s: %s", api.path.c_str(),
                      what.c_str());
  };
  for (const Need& need : needs) {
    if (!need.there) return lacks(std::string("it has no ") + need.name);
  }
  bool streams = api.flexlinkStreamCreate != nullptr && api.flexlinkStreamDestroy != nullptr &&
                 api.flexlinkStreamQuery != nullptr;
  return streams ? Status() : lacks("it does not work on host memory");
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
