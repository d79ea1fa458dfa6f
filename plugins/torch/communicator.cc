// SPDX-License-Identifier: Apache-2.0
#include "communicator.h"

#include <c10/util/Exception.h>

namespace flexlink::pytorch {
namespace {

[[noreturn]] void throwClosed(const char* what) {
  C10_THROW_ERROR(DistBackendError, "flexlink: " + std::string(what) +
                                        " on a process group that was shut down or aborted");
}

}  // namespace

Stream::Stream() { check(library().flexlinkStreamCreate(&handle_), "flexlinkStreamCreate"); }

Stream::~Stream() { library().flexlinkStreamDestroy(handle_); }

ncclResult_t Ticket::wait(std::chrono::microseconds timeout) const {
  return library().flexlinkStreamWait(stream->handle(), number, timeout.count());
}

std::shared_ptr<Communicator> Communicator::create(const ncclUniqueId& id, int rank, int size,
                                                   const std::string& name) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.commName = name.c_str();
  ncclComm_t handle = nullptr;
  check(library().ncclCommInitRankConfig(&handle, size, id, rank, &config),
        "creating the communicator");
  return std::shared_ptr<Communicator>(new Communicator(handle));
}

Communicator::~Communicator() { close(); }

std::shared_ptr<Communicator> Communicator::duplicate() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (handle_ == nullptr) throwClosed("duplicate");
  ncclComm_t twin = nullptr;
  check(library().ncclCommSplit(handle_, 0, 0, &twin, nullptr), "ncclCommSplit");
  return std::shared_ptr<Communicator>(new Communicator(twin));
}

std::shared_ptr<Communicator> Communicator::shrink(std::vector<int> excluded, bool failed) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (handle_ == nullptr) throwClosed("shrink");
  ncclComm_t rest = nullptr;
  check(library().ncclCommShrink(handle_, excluded.data(), static_cast<int>(excluded.size()), &rest,
                                 nullptr, failed ? NCCL_SHRINK_ABORT : NCCL_SHRINK_DEFAULT),
        "ncclCommShrink");
  return std::shared_ptr<Communicator>(new Communicator(rest));
}

Ticket Communicator::issue(const char* what, const std::shared_ptr<Stream>& stream,
                           const std::function<ncclResult_t(ncclComm_t, cudaStream_t)>& call) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (handle_ == nullptr) throwClosed(what);
  check(call(handle_, stream->handle()), what);
  Ticket ticket{stream, 0};
  check(library().flexlinkStreamRecord(stream->handle(), &ticket.number), what);
  return ticket;
}

void Communicator::setTimeout(std::chrono::milliseconds timeout) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (handle_ == nullptr) throwClosed("setting the timeout");
  check(library().flexlinkCommSetTimeout(
            handle_, std::chrono::duration_cast<std::chrono::microseconds>(timeout).count()),
        "flexlinkCommSetTimeout");
}

ncclResult_t Communicator::asyncError() const {
  std::lock_guard<std::mutex> lock(mutex_);
  ncclResult_t result = ncclInvalidUsage;
  if (handle_ != nullptr) check(library().ncclCommGetAsyncError(handle_, &result), "asyncError");
  return result;
}

int Communicator::waitsFor() const {
  std::lock_guard<std::mutex> lock(mutex_);
  int rank = -1;
  if (handle_ != nullptr) library().flexlinkCommWaitsFor(handle_, &rank);
  return rank;
}

void Communicator::close() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (handle_ == nullptr) return;
  library().ncclCommFinalize(handle_);  // fails where the communicator has: it is gone all the same
  library().ncclCommDestroy(handle_);
  handle_ = nullptr;
}

void Communicator::abort() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (handle_ == nullptr) return;
  library().ncclCommAbort(handle_);
  handle_ = nullptr;
}

}  // namespace flexlink::pytorch
