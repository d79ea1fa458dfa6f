// SPDX-License-Identifier: Apache-2.0
#include "device/host/stream.h"

#include <algorithm>
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
  if (other.get() == this || other->finished() >= ticket) return;  // its own past is always over
  {
    std::lock_guard<std::mutex> lock(mutex_);
    items_.push_back({nullptr, other, ticket, false});
    ++last_;
  }
  // Whoever listens here is told although nobody drives a wait.
  other->notify(
      ticket,
      [](void* waiting) {
        std::unique_ptr<std::weak_ptr<HostStream>> self(
            static_cast<std::weak_ptr<HostStream>*>(waiting));
        if (auto stream = self->lock()) stream->refresh();
      },
      new std::weak_ptr<HostStream>(weak_from_this()));
}

void HostStream::notify(uint64_t ticket, Listener listener, void* argument) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (finished_.load(std::memory_order_relaxed) < ticket) {
      notes_.push_back({ticket, listener, argument});
      return;
    }
  }
  listener(argument);
}

void HostStream::call(const std::vector<Note>& due) {
  for (const Note& note : due) note.listener(note.argument);
}

void HostStream::finish(uint64_t ticket, const Status& status) {
  std::vector<Note> due;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!status.ok() && error_.ok()) error_ = status;
    uint64_t before = finished_.load(std::memory_order_relaxed);
    items_[static_cast<size_t>(ticket - before - 1)].done = true;
    advance(&due);
  }
  call(due);
}

bool HostStream::advance(std::vector<Note>* due) {
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
  if (!notes_.empty()) {
    auto rest = std::stable_partition(notes_.begin(), notes_.end(),
                                      [&](const Note& note) { return note.ticket > upTo; });
    due->assign(rest, notes_.end());
    notes_.erase(rest, notes_.end());
  }
  return upTo != before;
}

bool HostStream::refresh() {
  std::vector<Note> due;
  bool moved = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    moved = advance(&due);
  }
  call(due);
  return moved;
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
