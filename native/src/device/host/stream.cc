// SPDX-License-Identifier: Apache-2.0
#include "device/host/stream.h"

#include <algorithm>
#include <shared_mutex>
#include <unordered_map>

#include "device/host/exchange.h"

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
  items_.push_back({driven});
  return ++last_;
}

uint64_t HostStream::addOwn(StreamWork work, Driven* driver) {
  std::vector<Note> due;
  uint64_t ticket;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    Item item;
    item.driven = driver;
    item.own = std::make_unique<const StreamWork>(std::move(work));
    items_.push_back(std::move(item));
    ++own_;
    ticket = ++last_;
    advance(&due);
  }
  call(due);
  return ticket;
}

void HostStream::addWait(std::shared_ptr<HostStream> other, uint64_t ticket) {
  if (other.get() == this || other->finished() >= ticket) return;  // its own past is always over
  {
    std::lock_guard<std::mutex> lock(mutex_);
    items_.push_back({nullptr, other, ticket});
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
  bool wake = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!status.ok() && error_.ok()) error_ = status;
    uint64_t before = finished_.load(std::memory_order_relaxed);
    items_[static_cast<size_t>(ticket - before - 1)].done = true;
    advance(&due);
    wake = own_ != 0;
  }
  call(due);
  if (wake) ringOwnDoorbell();  // whoever does the work that is next may sleep
}

// Counters are passed here: that costs nothing. Copies and folds are left to work().
bool HostStream::passes(const Item& item) {
  if (item.done) return true;
  if (item.other) return item.other->finished() >= item.otherTicket;
  if (!item.own) return false;
  if (item.own->kind == StreamWork::Kind::kWrite) item.own->write();
  return item.own->kind == StreamWork::Kind::kWrite ||
         (item.own->kind == StreamWork::Kind::kAwait && item.own->reached());
}

bool HostStream::advance(std::vector<Note>* due) {
  uint64_t upTo = finished_.load(std::memory_order_relaxed);
  uint64_t before = upTo;
  while (!items_.empty()) {
    if (!passes(items_.front())) break;
    if (items_.front().own) --own_;
    items_.pop_front();
    ++upTo;
  }
  if (upTo != before) finished_.store(upTo, std::memory_order_seq_cst);
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

bool HostStream::workIsNext() const {
  if (items_.empty() || working_ || !items_.front().own) return false;
  const StreamWork::Kind kind = items_.front().own->kind;
  return kind == StreamWork::Kind::kCopy || kind == StreamWork::Kind::kFold;
}

bool HostStream::work() {
  bool moved = refresh();
  for (;;) {
    const StreamWork* own = nullptr;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!workIsNext()) return moved;
      working_ = true;
      own = items_.front().own.get();  // stays there: nobody else takes it out
    }
    own->perform();
    std::vector<Note> due;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      working_ = false;
      items_.front().done = true;
      advance(&due);
    }
    call(due);
    ringOwnDoorbell();  // who waits for this stream may sleep while we worked
    moved = true;
  }
}

bool HostStream::hasOwnWork() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return own_ != 0;
}

bool HostStream::awaitsCounter() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return !items_.empty() && items_.front().own &&
         items_.front().own->kind == StreamWork::Kind::kAwait;
}

Driven* HostStream::blocker() {
  std::shared_ptr<HostStream> other;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (items_.empty()) return nullptr;
    if (items_.front().driven != nullptr) return items_.front().driven;
    other = items_.front().other;
    if (!other) return nullptr;  // its own work, without a driver
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
