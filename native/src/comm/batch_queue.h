// SPDX-License-Identifier: Apache-2.0
// The work of one communicator that lies on streams: which batch may start now. Batches of messages
// alone overlap, each as soon as no earlier one has yet to start on a way of its own (to, or from,
// one peer); any other batch starts when all before it are finished, and holds up all behind it.
// With the lock of whoever drives the communicator.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "base/status.h"
#include "device/host/stream.h"
#include "lane/batch.h"

namespace flexlink {

// Several batches that one caller waits for.
struct Completion {
  std::atomic<int> left{0};  // release by the finisher, acquire by the waiter
  std::mutex mutex;          // guards first
  Status first;
};

// One group's work on one communicator, between the fences of its streams.
struct PendingBatch {
  struct Fence {
    std::shared_ptr<HostStream> stream;
    uint64_t before;  // starts after this ticket
    uint64_t ticket;  // ends with this one
  };
  Batch batch;
  std::vector<Fence> fences;
  std::shared_ptr<Completion> completion;  // null: nobody waits beyond the streams
  // No stream of it says how it has ended: if not well, the communicator must fail.
  bool unheard = false;

  // Of a batch of messages alone, where such batches overlap; the queue's.
  struct Turn {
    std::vector<size_t> ways;
    size_t blocked = 0;        // of these, where an earlier one has yet to start
    uint64_t moves = 0;        // as the lane counted them when it was last asked
    int64_t waitingSince = 0;  // ns; since when there were so many; 0: it was not asked yet
  };
  std::unique_ptr<Turn> turn;

  bool fencesOpen() const;
  bool alone() const { return turn == nullptr; }
};

class BatchQueue {
 public:
  BatchQueue() = default;
  // overlaps: may messages be under way in several batches?
  BatchQueue(int ranks, bool overlaps)
      : overlaps_(overlaps), toStart_(2 * static_cast<size_t>(ranks)) {}

  bool empty() const { return atHand_.empty(); }  // then nothing waits either
  bool onlyReceives() const;                      // or nothing at all
  void push(std::unique_ptr<PendingBatch> pending);

  // The next batch whose turn has come and whose fences are open; it is running from now on. Null:
  // none. It stays the queue's.
  PendingBatch* start();

  // In the order of their start.
  const std::vector<PendingBatch*>& running() const { return running_; }

  // A running one is finished; it may be named by its batch, where several are running.
  std::unique_ptr<PendingBatch> take(const Batch* finished);

  // All, the oldest first; none is left.
  std::deque<std::unique_ptr<PendingBatch>> takeAll();

 private:
  void admit();

  bool overlaps_ = false;
  std::deque<std::unique_ptr<PendingBatch>> atHand_;   // running, or next on all their ways, or not
  std::deque<std::unique_ptr<PendingBatch>> waiting_;  // for all at hand, or for those here
  std::vector<PendingBatch*> next_;                    // at hand; only fences may be in their way
  std::vector<PendingBatch*> running_;
  std::vector<std::deque<PendingBatch*>> toStart_;  // by way: at hand, yet to start
};

}  // namespace flexlink
