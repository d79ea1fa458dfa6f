// SPDX-License-Identifier: Apache-2.0
// Streams on host memory: an order of work, no thread. Work is numbered by tickets. Most of it is
// somebody else's business (engine/); counters, copies and folds a stream does itself, on whichever
// thread refreshes it or calls work().
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "base/status.h"
#include "device/host/stream_work.h"

namespace flexlink {

struct Driven;  // engine/engine.h: whoever can push a piece of work forward

class HostStream : public std::enable_shared_from_this<HostStream> {
 public:
  using Listener = void (*)(void* argument);

  // Lock-free: all work up to this ticket is finished.
  uint64_t finished() const { return finished_.load(std::memory_order_acquire); }

  // The last ticket that was given out.
  uint64_t last() const;

  // Adds work that `driven` pushes forward; finish() must be called with the ticket.
  uint64_t add(Driven* driven);

  // Adds a wait: finished when `other` has finished `ticket`.
  void addWait(std::shared_ptr<HostStream> other, uint64_t ticket);

  void finish(uint64_t ticket, const Status& status);

  // Adds work of the stream's own. `driver` is whoever calls work() while hasOwnWork(); it is not
  // told. Counters that can be passed are passed at once.
  uint64_t addOwn(StreamWork work, Driven* driver);

  // Calls listener(argument) once when `ticket` is finished, at once if it is: by whoever finishes
  // it, perhaps under the lock of a communicator.
  void notify(uint64_t ticket, Listener listener, void* argument);

  // Moves finished() past waits that have come true and counters; true when something moved.
  bool refresh();

  // The same, and does the copies and folds whose turn has come, without a lock of the stream.
  bool work();

  // Is there work of the stream's own, or does it wait for some?
  bool hasOwnWork() const;

  // Does it wait for a counter now? Whoever writes that rings no doorbell.
  bool awaitsCounter() const;

  // Whoever must be driven for the oldest unfinished work; nullptr when there is none or it is
  // driven elsewhere.
  Driven* blocker();

  // The first error of any work so far; later work does not clear it.
  Status error() const;

 private:
  struct Item {
    Driven* driven = nullptr;
    std::shared_ptr<HostStream> other;
    uint64_t otherTicket = 0;
    std::unique_ptr<const StreamWork> own;  // null: somebody else's work
    bool done = false;
  };
  struct Note {
    uint64_t ticket;
    Listener listener;
    void* argument;
  };
  // Both with mutex_; `due` is to be called without it.
  static bool passes(const Item& item);
  bool advance(std::vector<Note>* due);
  bool workIsNext() const;  // a copy or a fold, and nobody is at it
  static void call(const std::vector<Note>& due);

  mutable std::mutex mutex_;  // guards the rest; a leaf lock (of two streams: this, then other)
  std::deque<Item> items_;    // tickets finished_+1 ..
  std::atomic<uint64_t> finished_{0};  // seq_cst in advance(), acquire in finished(); see Doorbell
  std::vector<Note> notes_;
  uint64_t last_ = 0;
  size_t own_ = 0;        // of items_: the stream's own
  bool working_ = false;  // a thread is at the first item, without the lock
  Status error_;
};

// Handles as the C API passes them. An address that is no stream of ours gives nullptr.
void* registerStream(std::shared_ptr<HostStream> stream);
std::shared_ptr<HostStream> findStream(const void* handle);
std::shared_ptr<HostStream> unregisterStream(const void* handle);

}  // namespace flexlink
