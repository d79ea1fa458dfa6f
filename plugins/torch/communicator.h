// SPDX-License-Identifier: Apache-2.0
// A communicator of libflexlink, and streams on host memory to enqueue on.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "library.h"

namespace flexlink::pytorch {

// An order of work. Whoever waits for a piece of it holds the stream.
class Stream {
 public:
  Stream();
  ~Stream();  // waits for its work
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t handle() const { return handle_; }
  bool busy() const;  // is there work that has not ended?

 private:
  cudaStream_t handle_ = nullptr;
};

// A piece of work that was enqueued; without a stream: one that is finished.
struct Ticket {
  std::shared_ptr<Stream> stream;
  uint64_t number = 0;

  // Drives the work for at most `timeout` (negative: no limit; 0: only asks). ncclInProgress: the
  // time is over; an error: why the work failed.
  ncclResult_t wait(std::chrono::microseconds timeout) const;
};

// What an operation is enqueued on: the functions for the device, a communicator, a stream.
struct On {
  const Library& nccl;
  ncclComm_t comm;
  cudaStream_t stream;
};

class Communicator {
 public:
  // On the device of `library`; on a GPU it is the calling thread's. Returns when all `size` ranks
  // have come; throws DistBackendError, with the names of those who have not, after the library's
  // limit for that (120 s).
  static std::shared_ptr<Communicator> create(const Library& library, const ncclUniqueId& id,
                                              int rank, int size, const std::string& name);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  // A second one of the same ranks; all of them call this.
  std::shared_ptr<Communicator> duplicate();

  // The survivors call this; `excluded` need not live. `failed`: work under way is given up.
  std::shared_ptr<Communicator> shrink(std::vector<int> excluded, bool failed);

  // What an operation does; stream NULL on host memory: it returns when it is done.
  using Call = std::function<ncclResult_t(const On&)>;

  const Library& library() const { return library_; }

  // On host memory. Enqueues and gives the ticket of the last of it. Any thread; calls of several
  // threads follow each other in some order.
  Ticket issue(const char* what, const std::shared_ptr<Stream>& stream, const Call& call);

  // Calls it with this stream, in the order of calls. With NULL on host memory: as issue() and a
  // wait, and faster, for no other thread has a part in it.
  ncclResult_t run(const char* what, cudaStream_t stream, const Call& call);

  // An operation that has not moved for so long fails on all ranks, and the communicator with it.
  // False: the vendor's library has no such limit.
  bool setTimeout(std::chrono::milliseconds timeout);

  bool isOpen() const { return handle_.load(std::memory_order_acquire) != nullptr; }

  // Why no call can succeed any more; ncclSuccess while one can.
  ncclResult_t asyncError() const;

  int waitsFor() const;  // rank that the operation at hand waits for; -1: none

  // Each once; of the calls that follow none does anything.
  void close();  // waits for the work, then leaves
  void leave();  // the same, but open receives are given up, and no peer hears of it
  // Ends all work with an error, here and at the peers. `why`: what later calls say; empty: that it
  // was aborted.
  void abort(const std::string& why = {});

 private:
  Communicator(const Library& library, ncclComm_t handle) : library_(library), handle_(handle) {}
  ncclComm_t open(const char* what) const;
  ncclComm_t take();

  const Library& library_;
  std::mutex order_;                // one call after the other; not for abort and questions
  std::atomic<ncclComm_t> handle_;  // NULL: closed; acq_rel
  mutable std::mutex asking_;       // held by questions, so that the handle outlives them
  std::string why_;                 // with asking_
};

}  // namespace flexlink::pytorch
