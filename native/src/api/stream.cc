// SPDX-License-Identifier: Apache-2.0
// Host streams, as flexlink.h declares them.
#include <chrono>

#include "api/device_choice.h"
#include "api/export.h"
#include "api/handles.h"
#include "engine/engine.h"
#include "engine/stream_driver.h"

namespace flexlink {
namespace {

Status need(cudaStream_t stream, std::shared_ptr<HostStream>* out) {
  FLEXLINK_TRY_ASSIGN(*out, checkedStream(stream));
  if (*out) return {};
  return makeStatus(Code::kInvalidArgument, "the stream is NULL");
}

Status checkTicket(const HostStream& stream, uint64_t ticket) {
  if (ticket <= stream.last()) return {};
  return makeStatus(Code::kInvalidArgument, "ticket %llu was not given out yet (last: %llu)",
                    static_cast<unsigned long long>(ticket),
                    static_cast<unsigned long long>(stream.last()));
}

Status synchronize(HostStream& stream) {
  FLEXLINK_TRY(Engine::waitStream(stream, stream.last(), Deadline::never()));
  return stream.error();
}

Status checkCounter(const uint64_t* at) {
  if (at != nullptr && reinterpret_cast<uintptr_t>(at) % alignof(uint64_t) == 0) return {};
  return makeStatus(Code::kInvalidArgument, "%p is no place for a counter of 8 bytes",
                    static_cast<const void*>(at));
}

Status enqueue(cudaStream_t stream, StreamWork work) {
  std::shared_ptr<HostStream> host;
  FLEXLINK_TRY(need(stream, &host));
  return StreamDriver::instance().enqueue(host, std::move(work));
}

}  // namespace
}  // namespace flexlink

using namespace flexlink;

FLEXLINK_API(ncclResult_t, flexlinkStreamCreate, (cudaStream_t * stream)) {
  return guarded([&]() -> Status {
    if (stream == nullptr) return makeStatus(Code::kInvalidArgument, "flexlinkStreamCreate(NULL)");
    if (makesOnGpu()) {
      return makeStatus(Code::kInvalidUsage,
                        "flexlinkStreamCreate: buffers are a GPU's, and so are streams: make them "
                        "with CUDA");
    }
    FLEXLINK_TRY_ASSIGN([[maybe_unused]] Engine * engine, Engine::instance());
    guardAgainstFork();
    *stream = static_cast<cudaStream_t>(registerStream(std::make_shared<HostStream>()));
    return {};
  });
}

FLEXLINK_API(ncclResult_t, flexlinkStreamDestroy, (cudaStream_t stream)) {
  return guarded([&]() -> Status {
    std::shared_ptr<HostStream> host;
    FLEXLINK_TRY(need(stream, &host));
    FLEXLINK_TRY(Engine::waitStream(*host, host->last(), Deadline::never()));
    unregisterStream(stream);
    return {};
  });
}

FLEXLINK_API(ncclResult_t, flexlinkStreamSynchronize, (cudaStream_t stream)) {
  return guarded([&]() -> Status {
    std::shared_ptr<HostStream> host;
    FLEXLINK_TRY(need(stream, &host));
    return synchronize(*host);
  });
}

FLEXLINK_API(ncclResult_t, flexlinkStreamQuery, (cudaStream_t stream)) {
  return guarded([&]() -> Status {
    std::shared_ptr<HostStream> host;
    FLEXLINK_TRY(need(stream, &host));
    host->refresh();
    if (host->finished() < host->last()) return Status::inProgress();
    return host->error();
  });
}

FLEXLINK_API(ncclResult_t, flexlinkStreamRecord, (cudaStream_t stream, uint64_t* ticket)) {
  return guarded([&]() -> Status {
    std::shared_ptr<HostStream> host;
    FLEXLINK_TRY(need(stream, &host));
    if (ticket == nullptr) return makeStatus(Code::kInvalidArgument, "the ticket is NULL");
    *ticket = host->last();
    return {};
  });
}

FLEXLINK_API(ncclResult_t, flexlinkStreamWait,
             (cudaStream_t stream, uint64_t ticket, int64_t timeoutMicros)) {
  return guarded([&]() -> Status {
    std::shared_ptr<HostStream> host;
    FLEXLINK_TRY(need(stream, &host));
    FLEXLINK_TRY(checkTicket(*host, ticket));
    Deadline deadline = timeoutMicros < 0
                            ? Deadline::never()
                            : Deadline::after(std::chrono::microseconds(timeoutMicros));
    FLEXLINK_TRY(Engine::waitStream(*host, ticket, deadline));
    return host->error();
  });
}

FLEXLINK_API(ncclResult_t, flexlinkStreamWaitStream,
             (cudaStream_t stream, cudaStream_t other, uint64_t ticket)) {
  return guarded([&]() -> Status {
    std::shared_ptr<HostStream> host, first;
    FLEXLINK_TRY(need(stream, &host));
    FLEXLINK_TRY(need(other, &first));
    FLEXLINK_TRY(checkTicket(*first, ticket));
    host->addWait(std::move(first), ticket);
    return {};
  });
}

FLEXLINK_API(ncclResult_t, flexlinkStreamNotify,
             (cudaStream_t stream, uint64_t ticket, flexlinkNotice_t function, void* argument)) {
  return guarded([&]() -> Status {
    std::shared_ptr<HostStream> host;
    FLEXLINK_TRY(need(stream, &host));
    if (function == nullptr) return makeStatus(Code::kInvalidArgument, "the function is NULL");
    FLEXLINK_TRY(checkTicket(*host, ticket));
    host->notify(ticket, function, argument);
    return {};
  });
}

FLEXLINK_API(ncclResult_t, flexlinkStreamWriteValue64,
             (cudaStream_t stream, uint64_t* at, uint64_t value)) {
  return guarded([&]() -> Status {
    FLEXLINK_TRY(checkCounter(at));
    return enqueue(stream, StreamWork::writeValue(at, value));
  });
}

FLEXLINK_API(ncclResult_t, flexlinkStreamWaitValue64,
             (cudaStream_t stream, const uint64_t* at, uint64_t value)) {
  return guarded([&]() -> Status {
    FLEXLINK_TRY(checkCounter(at));
    return enqueue(stream, StreamWork::waitValue(at, value));
  });
}

FLEXLINK_API(ncclResult_t, flexlinkStreamCopy,
             (cudaStream_t stream, void* dst, const void* src, size_t bytes)) {
  return guarded([&]() -> Status {
    if (bytes != 0 && (dst == nullptr || src == nullptr)) {
      return makeStatus(Code::kInvalidArgument, "the memory to copy %s is NULL",
                        dst == nullptr ? "to" : "from");
    }
    return enqueue(stream, StreamWork::copy(dst, src, bytes));
  });
}
