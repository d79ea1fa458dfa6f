// SPDX-License-Identifier: Apache-2.0
#include "communicator.h"

#include <c10/util/Exception.h>

namespace flexlink::pytorch {

Stream::Stream() { check(library().flexlinkStreamCreate(&handle_), "flexlinkStreamCreate"); }

Stream::~Stream() { library().flexlinkStreamDestroy(handle_); }

bool Stream::busy() const {
  uint64_t last = 0;
  return library().flexlinkStreamRecord(handle_, &last) == ncclSuccess &&
         library().flexlinkStreamWait(handle_, last, 0) == ncclInProgress;
}

ncclResult_t Ticket::wait(std::chrono::microseconds timeout) const {
  if (!stream) return ncclSuccess;
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

ncclComm_t Communicator::open(const char* what) const {
  ncclComm_t handle = handle_.load(std::memory_order_acquire);
  if (handle != nullptr) return handle;
  C10_THROW_ERROR(DistBackendError, "flexlink: " + std::string(what) +
                                        " on a process group that was shut down or aborted");
}

std::shared_ptr<Communicator> Communicator::duplicate() {
  std::lock_guard<std::mutex> lock(order_);
  ncclComm_t twin = nullptr;
  check(library().ncclCommSplit(open("ncclCommSplit"), 0, 0, &twin, nullptr), "ncclCommSplit");
  return std::shared_ptr<Communicator>(new Communicator(twin));
}

std::shared_ptr<Communicator> Communicator::shrink(std::vector<int> excluded, bool failed) {
  std::lock_guard<std::mutex> lock(order_);
  ncclComm_t rest = nullptr;
  check(library().ncclCommShrink(open("shrink"), excluded.data(), static_cast<int>(excluded.size()),
                                 &rest, nullptr, failed ? NCCL_SHRINK_ABORT : NCCL_SHRINK_DEFAULT),
        "ncclCommShrink");
  return std::shared_ptr<Communicator>(new Communicator(rest));
}

Ticket Communicator::issue(const char* what, const std::shared_ptr<Stream>& stream,
                           const Call& call) {
  std::lock_guard<std::mutex> lock(order_);
  check(call(open(what), stream->handle()), what);
  Ticket ticket{stream, 0};
  check(library().flexlinkStreamRecord(stream->handle(), &ticket.number), what);
  return ticket;
}

ncclResult_t Communicator::run(const char* what, const Call& call) {
  std::lock_guard<std::mutex> lock(order_);
  return call(open(what), nullptr);
}

void Communicator::setTimeout(std::chrono::milliseconds timeout) {
  check(library().flexlinkCommSetTimeout(
            open("setting the timeout"),
            std::chrono::duration_cast<std::chrono::microseconds>(timeout).count()),
        "flexlinkCommSetTimeout");
}

ncclResult_t Communicator::asyncError() const {
  ncclComm_t handle = handle_.load(std::memory_order_acquire);
  ncclResult_t result = ncclInvalidUsage;
  if (handle != nullptr) check(library().ncclCommGetAsyncError(handle, &result), "asyncError");
  return result;
}

int Communicator::waitsFor() const {
  ncclComm_t handle = handle_.load(std::memory_order_acquire);
  int rank = -1;
  if (handle != nullptr) library().flexlinkCommWaitsFor(handle, &rank);
  return rank;
}

void Communicator::close() {
  std::lock_guard<std::mutex> lock(order_);
  ncclComm_t handle = handle_.exchange(nullptr, std::memory_order_acq_rel);
  if (handle == nullptr) return;
  library().ncclCommFinalize(handle);  // fails where the communicator has: it is gone all the same
  library().ncclCommDestroy(handle);
}

void Communicator::leave() {
  std::lock_guard<std::mutex> lock(order_);
  ncclComm_t handle = handle_.exchange(nullptr, std::memory_order_acq_rel);
  if (handle != nullptr) library().flexlinkCommLeave(handle);
}

// Not in the order of calls: it ends the one that another thread waits in.
void Communicator::abort() {
  ncclComm_t handle = handle_.exchange(nullptr, std::memory_order_acq_rel);
  if (handle != nullptr) library().ncclCommAbort(handle);
}

}  // namespace flexlink::pytorch
