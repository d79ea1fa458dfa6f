// SPDX-License-Identifier: Apache-2.0
// Streams on host memory: an order of work, no thread. Work is numbered by tickets; who does the
// work is somebody else's business (engine/).
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "base/status.h"

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

  // Calls listener(argument) once when `ticket` is finished, at once if it is: by whoever finishes
  // it, perhaps under the lock of a communicator.
  void notify(uint64_t ticket, Listener listener, void* argument);

  // Moves finished() past waits that have come true; true when something moved.
  bool refresh();

  // Whoever must be driven for the oldest unfinished work; nullptr when there is none or it is
  // driven elsewhere.
  Driven* blocker();

  // The first error of any work so far; later work does not clear it.
  Status error() const;

 private:
  struct Item {
    Driven* driven;
    std::shared_ptr<HostStream> other;
    uint64_t otherTicket;
    bool done;
  };
  struct Note {
    uint64_t ticket;
    Listener listener;
    void* argument;
  };
  bool advance(std::vector<Note>* due);  // with mutex_; `due` is to be called without it
  static void call(const std::vector<Note>& due);

  mutable std::mutex mutex_;  // guards the rest; a leaf lock (of two streams: this, then other)
  std::deque<Item> items_;    // tickets finished_+1 ..
  std::atomic<uint64_t> finished_{0};  // release in advance(), acquire in finished()
  std::vector<Note> notes_;
  uint64_t last_ = 0;
  Status error_;
};

// Handles as the C API passes them. An address that is no stream of ours gives nullptr.
void* registerStream(std::shared_ptr<HostStream> stream);
std::shared_ptr<HostStream> findStream(const void* handle);
std::shared_ptr<HostStream> unregisterStream(const void* handle);

}  // namespace flexlink
