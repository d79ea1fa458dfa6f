// SPDX-License-Identifier: Apache-2.0
// Checks inside a rank's body and the small owners that bodies use.
#include "support/check.h"

#include <time.h>

#include "flexlink/flexlink.h"
#include "support/gpu.h"
#include "support/sanitized.h"

namespace ranktest {

std::string resultName(ncclResult_t result) {
  static constexpr const char* kNames[] = {
      "ncclSuccess",       "ncclUnhandledCudaError", "ncclSystemError",
      "ncclInternalError", "ncclInvalidArgument",    "ncclInvalidUsage",
      "ncclRemoteError",   "ncclInProgress",         "ncclTimeout"};
  const int number = static_cast<int>(result);
  const std::string name = number >= 0 && number <= 8 ? kNames[number] : "?";
  return name + " (" + std::to_string(number) + ")";
}

std::string lastError(ncclComm_t comm) {
  const char* text = ncclGetLastError(comm);
  return text == nullptr ? "(null)" : text;
}

void fail(const char* where, const std::string& text) {
  throw RankFailure(std::string(where) + ": " + text);
}

void checkResult(ncclResult_t got, ncclResult_t want, const char* call, const char* where,
                 ncclComm_t comm) {
  if (got == want) return;
  fail(where, std::string(call) + " returned " + resultName(got) + ", expected " +
                  resultName(want) + "; last error: " + lastError(comm));
}

void checkMentions(const std::string& text, std::initializer_list<std::string> parts,
                   const char* where) {
  for (const std::string& part : parts) {
    if (text.find(part) == std::string::npos) {
      fail(where, "\"" + text + "\" does not mention \"" + part + "\"");
    }
  }
}

ncclResult_t pollAsync(ncclComm_t comm, double seconds) {
  const double end = nowSeconds() + seconds * kSlowdown;
  ncclResult_t state = ncclInProgress;
  while (nowSeconds() < end) {
    if (ncclCommGetAsyncError(comm, &state) != ncclSuccess) return ncclInternalError;
    if (state != ncclInProgress) return state;
    const timespec nap{0, 200'000};
    nanosleep(&nap, nullptr);
  }
  return state;
}

double timed(const std::function<void()>& call) {
  const double begin = nowSeconds();
  call();
  return nowSeconds() - begin;
}

Comm::~Comm() {
  if (comm_ == nullptr) return;
  // Unwinding: the peers may be gone, and Destroy would wait for them.
  if (std::uncaught_exceptions() > 0) {
    ncclCommAbort(comm_);
  } else {
    ncclCommDestroy(comm_);
  }
}

Comm& Comm::operator=(Comm&& other) noexcept {
  if (this != &other) {
    if (comm_ != nullptr) ncclCommDestroy(comm_);
    comm_ = other.release();
  }
  return *this;
}

ncclComm_t Comm::release() {
  ncclComm_t out = comm_;
  comm_ = nullptr;
  return out;
}

void Comm::destroy() { RANK_OK(ncclCommDestroy(release())); }

void Comm::abort() { RANK_OK(ncclCommAbort(release())); }

Comm makeWorld(RankContext& ctx, int idNumber) {
  Comm comm;
  const ncclUniqueId id = ctx.id(idNumber);
  RANK_OK(ncclCommInitRank(comm.put(), ctx.size, id, ctx.rank));
  return comm;
}

Stream::Stream() {
  if (Gpu* gpu = Gpu::use()) {
    stream_ = gpu->makeStream();
  } else {
    RANK_OK(flexlinkStreamCreate(&stream_));
  }
}

Stream::~Stream() {
  if (Gpu* gpu = Gpu::use()) {
    gpu->freeStream(stream_);
  } else {
    flexlinkStreamDestroy(stream_);
  }
}

void Stream::sync() const {
  if (Gpu* gpu = Gpu::use()) return gpu->synchronize(stream_);
  RANK_OK(flexlinkStreamSynchronize(stream_));
}

}  // namespace ranktest
