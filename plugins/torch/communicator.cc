// SPDX-License-Identifier: Apache-2.0
#include "communicator.h"

#include <c10/util/Exception.h>

namespace flexlink::pytorch {

Stream::Stream() {
  hostLibrary().check(hostLibrary().flexlinkStreamCreate(&handle_), "flexlinkStreamCreate");
}

Stream::~Stream() { hostLibrary().flexlinkStreamDestroy(handle_); }

bool Stream::busy() const {
  uint64_t last = 0;
  return hostLibrary().flexlinkStreamRecord(handle_, &last) == ncclSuccess &&
         hostLibrary().flexlinkStreamWait(handle_, last, 0) == ncclInProgress;
}

ncclResult_t Ticket::wait(std::chrono::microseconds timeout) const {
  if (!stream) return ncclSuccess;
  return hostLibrary().flexlinkStreamWait(stream->handle(), number, timeout.count());
}

std::shared_ptr<Communicator> Communicator::create(const Library& library, const ncclUniqueId& id,
                                                   int rank, int size, const std::string& name) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.commName = name.c_str();
  ncclComm_t handle = nullptr;
  library.check(library.ncclCommInitRankConfig(&handle, size, id, rank, &config),
                "creating the communicator");
  return std::shared_ptr<Communicator>(new Communicator(library, handle));
}

Communicator::~Communicator() { close(); }

ncclComm_t Communicator::open(const char* what) const {
  ncclComm_t handle = handle_.load(std::memory_order_acquire);
  if (handle != nullptr) return handle;
  std::lock_guard<std::mutex> lock(asking_);
  C10_THROW_ERROR(DistBackendError, "flexlink: " + std::string(what) +
                                        " on a process group that was shut down or aborted" +
                                        (why_.empty() ? "" : ": " + why_));
}

std::shared_ptr<Communicator> Communicator::duplicate() {
  std::lock_guard<std::mutex> lock(order_);
  ncclComm_t twin = nullptr;
  library_.check(library_.ncclCommSplit(open("ncclCommSplit"), 0, 0, &twin, nullptr),
                 "ncclCommSplit");
  return std::shared_ptr<Communicator>(new Communicator(library_, twin));
}

std::shared_ptr<Communicator> Communicator::shrink(std::vector<int> excluded, bool failed) {
  std::lock_guard<std::mutex> lock(order_);
  ncclComm_t rest = nullptr;
  library_.check(
      library_.ncclCommShrink(open("shrink"), excluded.data(), static_cast<int>(excluded.size()),
                              &rest, nullptr, failed ? NCCL_SHRINK_ABORT : NCCL_SHRINK_DEFAULT),
      "ncclCommShrink");
  return std::shared_ptr<Communicator>(new Communicator(library_, rest));
}

Ticket Communicator::issue(const char* what, const std::shared_ptr<Stream>& stream,
                           const Call& call) {
  std::lock_guard<std::mutex> lock(order_);
  library_.check(call({library_, open(what), stream->handle()}), what);
  Ticket ticket{stream, 0};
  library_.check(library_.flexlinkStreamRecord(stream->handle(), &ticket.number), what);
  return ticket;
}

ncclResult_t Communicator::run(const char* what, cudaStream_t stream, const Call& call) {
  std::lock_guard<std::mutex> lock(order_);
  return call({library_, open(what), stream});
}

bool Communicator::setTimeout(std::chrono::milliseconds timeout) {
  if (library_.flexlinkCommSetTimeout == nullptr) return false;
  library_.check(library_.flexlinkCommSetTimeout(
                     open("setting the timeout"),
                     std::chrono::duration_cast<std::chrono::microseconds>(timeout).count()),
                 "flexlinkCommSetTimeout");
  return true;
}

ncclResult_t Communicator::asyncError() const {
  std::lock_guard<std::mutex> lock(asking_);
  ncclComm_t handle = handle_.load(std::memory_order_acquire);
  ncclResult_t result = ncclInvalidUsage;
  if (handle != nullptr)
    library_.check(library_.ncclCommGetAsyncError(handle, &result), "asyncError");
  return result;
}

int Communicator::waitsFor() const {
  std::lock_guard<std::mutex> lock(asking_);
  ncclComm_t handle = handle_.load(std::memory_order_acquire);
  int rank = -1;
  const bool asks = handle != nullptr && library_.flexlinkCommWaitsFor != nullptr;
  if (asks) library_.flexlinkCommWaitsFor(handle, &rank);
  return rank;
}

ncclComm_t Communicator::take() {
  std::lock_guard<std::mutex> lock(asking_);
  return handle_.exchange(nullptr, std::memory_order_acq_rel);
}

void Communicator::close() {
  std::lock_guard<std::mutex> lock(order_);
  ncclComm_t handle = take();
  if (handle == nullptr) return;
  library_.ncclCommFinalize(handle);  // fails where the communicator has: it is gone all the same
  library_.ncclCommDestroy(handle);
}

void Communicator::leave() {
  std::lock_guard<std::mutex> lock(order_);
  ncclComm_t handle = take();
  if (handle != nullptr) library_.flexlinkCommLeave(handle);
}

// Not in the order of calls: it ends the one that another thread waits in.
void Communicator::abort(const std::string& why) {
  ncclComm_t handle = take();
  {
    std::lock_guard<std::mutex> lock(asking_);
    if (why_.empty()) why_ = why;
  }
  if (handle != nullptr) library_.ncclCommAbort(handle);
}

}  // namespace flexlink::pytorch
