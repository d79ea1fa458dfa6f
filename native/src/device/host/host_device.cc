// SPDX-License-Identifier: Apache-2.0
#include "device/host/host_device.h"

#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>

#include "base/reactor.h"
#include "device/host/exchange.h"

namespace flexlink {
namespace {

constexpr std::chrono::seconds kOpenLimit{5};

// What a MemoryHandle is here: a region of a process, and how to get at it.
struct HostHandle {
  ProcessId process;
  Cookie cookie;
  int32_t pid;
  uint32_t wakeRegion;
  uint32_t region;
  uint32_t unused;
  uint64_t offset;
};
static_assert(sizeof(HostHandle) <= sizeof(MemoryHandle));

ProcessCard cardOf(const HostHandle& handle, const ProcessCard& mine) {
  ProcessCard card = mine;  // the same host, the same user
  card.id = handle.process;
  card.cookie = handle.cookie;
  card.pid = handle.pid;
  card.wakeRegion = handle.wakeRegion;
  return card;
}

// An answer that the control thread gives to a thread that may have left.
struct Answer {
  std::mutex mutex;  // guards the rest
  std::condition_variable there;
  bool given = false;
  Result<PeerProcess::Mapping> mapping{PeerProcess::Mapping()};

  void give(Result<PeerProcess::Mapping> result) {
    std::lock_guard<std::mutex> lock(mutex);
    mapping = std::move(result);
    given = true;
    there.notify_all();
  }
};

Result<PeerProcess::Mapping> fetchRegion(const ProcessCard& card, uint32_t region) {
  FLEXLINK_TRY_ASSIGN(Reactor * reactor, Reactor::instance());
  auto answer = std::make_shared<Answer>();
  reactor->post([card, region, answer] {
    connectPeer(card, [region, answer](const Result<std::shared_ptr<PeerProcess>>& peer) {
      if (!peer.ok()) return answer->give(peer.status());
      peer.value()->fetch(
          region, [answer](const Result<PeerProcess::Mapping>& mapping) { answer->give(mapping); });
    });
  });
  std::unique_lock<std::mutex> lock(answer->mutex);
  if (!answer->there.wait_for(lock, kOpenLimit, [&] { return answer->given; })) {
    return makeStatus(Code::kTimeout, "process %d has not handed out region %u in %lld s", card.pid,
                      region, static_cast<long long>(kOpenLimit.count()));
  }
  return answer->mapping;
}

}  // namespace

Result<MemoryKind> HostDevice::memoryOf(const void* pointer) {
  auto at = reinterpret_cast<uintptr_t>(pointer);
  std::lock_guard<std::mutex> lock(mutex_);
  auto next = pinned_.upper_bound(at);
  if (next == pinned_.begin()) return MemoryKind::kHost;
  --next;
  return at - next->first < next->second ? MemoryKind::kPinned : MemoryKind::kHost;
}

// The CPU reaches all memory as it is: it is only noted, so that what is wrong on a GPU is here,
// too.
Status HostDevice::pin(void* begin, size_t bytes) {
  auto at = reinterpret_cast<uintptr_t>(begin);
  std::lock_guard<std::mutex> lock(mutex_);
  auto next = pinned_.lower_bound(at);
  bool before = next != pinned_.begin() && std::prev(next)->first + std::prev(next)->second > at;
  if (before || (next != pinned_.end() && next->first < at + bytes)) {
    return makeStatus(Code::kInvalidArgument, "%p is pinned already", begin);
  }
  pinned_[at] = bytes;
  return {};
}

Status HostDevice::unpin(void* begin) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (pinned_.erase(reinterpret_cast<uintptr_t>(begin)) != 0) return {};
  return makeStatus(Code::kInvalidArgument, "%p is not the start of pinned memory", begin);
}

Result<void*> HostDevice::allocate(size_t bytes) {
  return RegionTable::instance().create(bytes, RegionUse::kSegment);
}

Status HostDevice::release(void* allocated) { return RegionTable::instance().destroy(allocated); }

Result<MemoryHandle> HostDevice::share(const void* pointer) {
  FLEXLINK_TRY_ASSIGN(const ProcessCard* mine, myProcessCard());
  RegionRef ref = RegionTable::instance().find(pointer, 1);
  if (ref.id == 0) {
    return makeStatus(Code::kInvalidArgument,
                      "%p cannot be shared: it is not in memory from ncclMemAlloc", pointer);
  }
  HostHandle handle{mine->id, mine->cookie, mine->pid, mine->wakeRegion, ref.id, 0, ref.offset};
  MemoryHandle opaque{};
  memcpy(opaque.data(), &handle, sizeof handle);
  return opaque;
}

Result<void*> HostDevice::open(const MemoryHandle& opaque) {
  HostHandle handle;
  memcpy(&handle, opaque.data(), sizeof handle);
  FLEXLINK_TRY_ASSIGN(const ProcessCard* mine, myProcessCard());
  FLEXLINK_TRY_ASSIGN(PeerProcess::Mapping mapping,
                      fetchRegion(cardOf(handle, *mine), handle.region));
  if (handle.offset >= mapping->bytes()) {
    return makeStatus(Code::kInvalidArgument, "the handle names byte %llu of a region of %zu",
                      static_cast<unsigned long long>(handle.offset), mapping->bytes());
  }
  void* address = static_cast<uint8_t*>(mapping->base()) + handle.offset;
  std::lock_guard<std::mutex> lock(mutex_);
  opened_.emplace(reinterpret_cast<uintptr_t>(address), std::move(mapping));
  return address;
}

Status HostDevice::close(void* opened) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = opened_.find(reinterpret_cast<uintptr_t>(opened));
  if (found == opened_.end()) {
    return makeStatus(Code::kInvalidArgument, "%p was not opened here", opened);
  }
  opened_.erase(found);
  return {};
}

Result<StreamHandle> HostDevice::makeStream() {
  auto stream = std::make_shared<HostStream>();
  StreamHandle handle = stream.get();
  std::lock_guard<std::mutex> lock(mutex_);
  auto more = std::make_shared<Streams>(*streams_);
  more->push_back(std::move(stream));
  streams_ = std::move(more);
  return handle;
}

Status HostDevice::freeStream(StreamHandle stream) {
  FLEXLINK_TRY(find(stream).status());
  std::lock_guard<std::mutex> lock(mutex_);
  auto fewer = std::make_shared<Streams>(*streams_);
  std::erase_if(*fewer, [&](const auto& one) { return one.get() == stream; });
  streams_ = std::move(fewer);
  return {};
}

Result<std::shared_ptr<HostStream>> HostDevice::find(StreamHandle stream) const {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& one : *streams_) {
    if (one.get() == stream) return one;
  }
  return makeStatus(Code::kInvalidArgument, "%p is no stream of this device", stream);
}

Status HostDevice::query(StreamHandle stream) {
  FLEXLINK_TRY_ASSIGN(std::shared_ptr<HostStream> host, find(stream));
  return host->finished() < host->last() ? Status::inProgress() : host->error();
}

Status HostDevice::enqueue(StreamHandle stream, StreamWork work) {
  FLEXLINK_TRY_ASSIGN(std::shared_ptr<HostStream> host, find(stream));
  host->addOwn(std::move(work), nullptr);
  return {};
}

Status HostDevice::copy(StreamHandle stream, void* dst, const void* src, size_t bytes) {
  return enqueue(stream, StreamWork::copy(dst, src, bytes));
}

Status HostDevice::writeValue(StreamHandle stream, uint64_t* at, uint64_t value) {
  return enqueue(stream, StreamWork::writeValue(at, value));
}

Status HostDevice::waitValue(StreamHandle stream, const uint64_t* at, uint64_t value) {
  return enqueue(stream, StreamWork::waitValue(at, value));
}

Status HostDevice::fold(StreamHandle stream, const FoldArgs& args) {
  return enqueue(stream, StreamWork::fold(args));
}

Result<bool> HostDevice::capturing(StreamHandle stream) {
  FLEXLINK_TRY(find(stream).status());
  return false;
}

bool HostDevice::drive() {
  std::shared_ptr<const Streams> streams;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    streams = streams_;
  }
  bool moved = false;
  for (const auto& stream : *streams) moved = stream->work() || moved;
  return moved;
}

}  // namespace flexlink
