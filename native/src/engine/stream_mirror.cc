// SPDX-License-Identifier: Apache-2.0
#include "engine/stream_mirror.h"

#include <stdlib.h>
#include <string.h>

#include <map>
#include <utility>

#include "drivers/libnccl.h"
#include "engine/stream_driver.h"

namespace flexlink {
namespace {

constexpr size_t kPage = 4096;

// cudaStreamPerThread: a stream of its own for each thread, under one handle.
constexpr uintptr_t kPerThread = 2;
thread_local char thisThread;  // its address is what counts

struct Mirrors {
  std::mutex mutex;  // guards all
  std::map<std::pair<const void*, const void*>, StreamMirror*> all;
};

Mirrors& mirrors() {
  static auto* mirrors = new Mirrors;
  return *mirrors;
}

std::pair<const void*, const void*> keyOf(const void* owner, StreamHandle stream) {
  const bool perThread = reinterpret_cast<uintptr_t>(stream) == kPerThread;
  return {owner, perThread ? &thisThread : stream};
}

// The program waits on its own stream.
Status enqueue(const std::shared_ptr<HostStream>& order, StreamWork work) {
  return StreamDriver::instance().enqueue(order, std::move(work), Adoption::kAtOnce);
}

}  // namespace

StreamMirror* StreamMirror::find(const void* owner, StreamHandle stream) {
  std::lock_guard<std::mutex> lock(mirrors().mutex);
  const auto found = mirrors().all.find(keyOf(owner, stream));
  return found == mirrors().all.end() ? nullptr : found->second;
}

// Another thread may have made it meanwhile: then that one holds.
StreamMirror* StreamMirror::keep(const void* owner, StreamHandle stream,
                                 std::unique_ptr<StreamMirror> made) {
  std::lock_guard<std::mutex> lock(mirrors().mutex);
  StreamMirror*& kept = mirrors().all[keyOf(owner, stream)];
  if (kept == nullptr) kept = made.release();
  return kept;
}

// Never freed. Null: no memory.
StreamMirror::Fences* StreamMirror::makeFences() {
  void* page = aligned_alloc(kPage, kPage);
  if (page != nullptr) memset(page, 0, kPage);
  return static_cast<Fences*>(page);
}

Result<StreamMirror*> StreamMirror::of(const std::shared_ptr<Device>& device, StreamHandle stream) {
  FLEXLINK_TRY_ASSIGN(const bool recorded, device->capturing(stream));
  if (recorded) {
    return makeStatus(Code::kInvalidUsage,
                      "stream %p is being recorded into a graph, and what our own lanes do cannot "
                      "be replayed; without FLEXLINK_PASS_THROUGH=0 the vendor's library does it",
                      stream);
  }
  if (StreamMirror* found = find(device.get(), stream)) return found;
  Fences* fences = makeFences();
  if (fences == nullptr) return makeStatus(Code::kSystem, "no memory for the fences of a stream");
  FLEXLINK_TRY(device->pin(fences, kPage));
  auto write = [device, stream](uint64_t* at, uint64_t value) {
    return device->writeValue(stream, at, value);
  };
  auto wait = [device, stream](const uint64_t* at, uint64_t value) {
    return device->waitValue(stream, at, value);
  };
  std::unique_ptr<StreamMirror> made(new StreamMirror(fences, write, wait));
  return keep(device.get(), stream, std::move(made));
}

Result<StreamMirror*> StreamMirror::of(const VendorApi& vendor, StreamHandle handle) {
  if (StreamMirror* found = find(&vendor, handle)) return found;
  Fences* fences = makeFences();
  if (fences == nullptr) return makeStatus(Code::kSystem, "no memory for the fences of a stream");
  const auto stream = static_cast<cudaStream_t>(handle);
  const VendorApi* api = &vendor;
  auto said = [api](const char* call, ncclResult_t result) {
    if (result == ncclSuccess) return Status();
    return makeStatus(static_cast<Code>(result), "%s of the vendor's library: %s", call,
                      api->ncclGetLastError(nullptr));
  };
  auto write = [=](uint64_t* at, uint64_t value) {
    const InsideVendor inside;
    return said("flexlinkStreamWriteValue64", api->flexlinkStreamWriteValue64(stream, at, value));
  };
  auto wait = [=](const uint64_t* at, uint64_t value) {
    const InsideVendor inside;
    return said("flexlinkStreamWaitValue64", api->flexlinkStreamWaitValue64(stream, at, value));
  };
  std::unique_ptr<StreamMirror> made(new StreamMirror(fences, write, wait));
  return keep(&vendor, handle, std::move(made));
}

Status StreamMirror::begin() {
  std::lock_guard<std::mutex> lock(mutex_);
  FLEXLINK_TRY(write_(&fences_->begun, begins_ + 1));
  ++begins_;
  return enqueue(order_, StreamWork::waitValue(&fences_->begun, begins_));
}

Status StreamMirror::mark(HostStream::Listener listener, void* argument) {
  std::lock_guard<std::mutex> lock(mutex_);
  FLEXLINK_TRY(write_(&fences_->marked, marked_ + 1));
  ++marked_;
  FLEXLINK_TRY(enqueue(marks_, StreamWork::waitValue(&fences_->marked, marked_)));
  marks_->notify(marks_->last(), listener, argument);
  return {};
}

Status StreamMirror::end() {
  std::lock_guard<std::mutex> lock(mutex_);
  ++ends_;
  FLEXLINK_TRY(enqueue(order_, StreamWork::writeValue(&fences_->ended, ends_)));
  return wait_(&fences_->ended, ends_);
}

}  // namespace flexlink
