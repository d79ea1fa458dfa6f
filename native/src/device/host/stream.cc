// SPDX-License-Identifier: Apache-2.0
#include "device/host/stream.h"

#include <shared_mutex>
#include <unordered_map>

namespace flexlink {
namespace {

struct Registry {
  std::shared_mutex mutex;  // guards streams
  std::unordered_map<const void*, std::shared_ptr<HostStream>> streams;
};

Registry& registry() {
  static Registry* all = new Registry;  // handles may be used until the process ends
  return *all;
}

}  // namespace

uint64_t HostStream::last() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return last_;
}

uint64_t HostStream::add(Driven* driven) {
  std::lock_guard<std::mutex> lock(mutex_);
  items_.push_back({driven, nullptr, 0, false});
  return ++last_;
}

void HostStream::addWait(std::shared_ptr<HostStream> other, uint64_t ticket) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (other.get() == this || other->finished() >= ticket) return;  // its own past is always over
  items_.push_back({nullptr, std::move(other), ticket, false});
  ++last_;
}

void HostStream::finish(uint64_t ticket, const Status& status) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!status.ok() && error_.ok()) error_ = status;
  uint64_t before = finished_.load(std::memory_order_relaxed);
  items_[static_cast<size_t>(ticket - before - 1)].done = true;
  advance();
}

bool HostStream::advance() {
  uint64_t upTo = finished_.load(std::memory_order_relaxed);
  uint64_t before = upTo;
  while (!items_.empty()) {
    const Item& item = items_.front();
    bool done = item.done || (item.other != nullptr && item.other->finished() >= item.otherTicket);
    if (!done) break;
    items_.pop_front();
    ++upTo;
  }
  finished_.store(upTo, std::memory_order_release);
  return upTo != before;
}

bool HostStream::refresh() {
  std::lock_guard<std::mutex> lock(mutex_);
  return advance();
}

Driven* HostStream::blocker() {
  std::shared_ptr<HostStream> other;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (items_.empty()) return nullptr;
    if (items_.front().driven != nullptr) return items_.front().driven;
    other = items_.front().other;
  }
  other->refresh();
  return other->blocker();
}

Status HostStream::error() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return error_;
}

void* registerStream(std::shared_ptr<HostStream> stream) {
  std::unique_lock lock(registry().mutex);
  void* handle = stream.get();
  registry().streams[handle] = std::move(stream);
  return handle;
}

std::shared_ptr<HostStream> findStream(const void* handle) {
  std::shared_lock lock(registry().mutex);
  auto found = registry().streams.find(handle);
  return found == registry().streams.end() ? nullptr : found->second;
}

std::shared_ptr<HostStream> unregisterStream(const void* handle) {
  std::unique_lock lock(registry().mutex);
  auto found = registry().streams.find(handle);
  if (found == registry().streams.end()) return nullptr;
  std::shared_ptr<HostStream> stream = std::move(found->second);
  registry().streams.erase(found);
  return stream;
}

}  // namespace flexlink
