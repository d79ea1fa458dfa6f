// SPDX-License-Identifier: Apache-2.0
// A lane carries a slice of whole collectives between the ranks of one communicator. It is driven
// by polling, never blocks, and is used by one thread at a time (the communicator's progress lock),
// except abort() and state().
#pragma once

#include "base/status.h"
#include "lane/batch.h"

namespace flexlink {

enum class Progress : uint8_t {
  kWaiting,  // nothing could be done now: somebody else is awaited
  kMoved,    // something was done; poll again
  kDone,     // a batch is finished: finished() says which
  kFailed,   // it never will be: failure() says why
};

// How a lane can carry a call.
enum class Carries : uint8_t {
  kNot,
  kWhole,   // all of it
  kSlices,  // all of it, or any slice beside other lanes
};

struct LaneState {
  const char* name;
  uint64_t operations;  // collectives and single calls finished
  uint64_t bytes;       // bytes that this rank moved or folded for them
  int waitingFor;       // rank, or -1
};

class Lane {
 public:
  virtual ~Lane() = default;

  // The same answer on all ranks: of the call it regards nothing that may differ between them.
  virtual Carries carries(const Call& call) const {
    return isCollective(call.kind) ? Carries::kSlices : Carries::kWhole;
  }

  // May batches of messages (onlyMessages() in batch.h) be at hand together? Of a lane that says
  // no, and beside any other batch, one is finished before the next is started.
  virtual bool overlaps() const { return false; }

  // Takes up the next batch; the caller keeps it alive until it is finished, or kFailed. Messages
  // from one rank to another keep the order in which their batches were started; no batch of
  // messages waits for anything else of those that are at hand with it.
  virtual void start(const Batch& batch) = 0;

  // The same as start() with a batch of this collective; a fast way in.
  virtual void startCollective(const Call& call) = 0;

  // At most one chunk of work. No lock, no allocation, no system call on the usual path.
  virtual Progress poll() = 0;

  // Of a lane that overlaps, for the poll() that has just said kDone: the batch that is finished.
  // Null: none was at hand, or it was the call of startCollective().
  virtual const Batch* finished() const { return nullptr; }

  // Of the batch that the poll() which has just said kDone has finished: ok, or why a message of it
  // will never come. That is no failure of the lane: its peer has left, and others have not.
  virtual const Status& outcome() const = 0;

  // Of a lane that overlaps: grows whenever something moves where this message goes, as closely as
  // the lane can tell one way from another.
  virtual uint64_t movesOf(const Call& /*message*/) const { return 0; }

  // The slow look around of a waiter: peers that died, left or failed, deadlines. Ok: wait on.
  virtual Status check() = 0;

  // Tells the peers that this rank has given up, and why. Any thread.
  virtual void abort(const Status& reason) = 0;

  // Tells the peers that this rank needs nothing more: its end is no error from now on. Any thread.
  virtual void close() = 0;

  // Why poll() said kFailed; ok before.
  virtual const Status& failure() const = 0;

  // Tells the probe that the operation at hand, if there is one, has ended this way.
  virtual void probeFailure(const Status& status) = 0;

  // After a failure: user memory that a peer may still write gets a new home.
  virtual Status rehomeExposed() = 0;

  // Memory of this rank where peers may put, by one-sided calls; or no longer. Idle only.
  virtual void expose(void* address, size_t bytes) = 0;
  virtual void conceal(void* address) = 0;

  virtual LaneState state() const = 0;
};

}  // namespace flexlink
