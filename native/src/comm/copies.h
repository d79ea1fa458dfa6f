// SPDX-License-Identifier: Apache-2.0
// What moves the bytes between ranks of one host where the ranks' threads do not: on GPUs, and with
// FLEXLINK_COPIES=device. For GPUs of several hosts: to images in the host's memory and back.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace flexlink {

struct CreationPlan;

// On a GPU: memory of this rank where bytes are to wait, unless that is to be the host's. In the
// calling thread, which is the program's: a driver may wait for the GPU before it allocates. Where
// it cannot be had, the log says why, and pinned memory of the host serves.
void allocateStaging(CreationPlan* plan);

// Opens it on a thread of its own: to pin memory and to open that of peers may wait for a GPU,
// which may be at work for a rank that waits for the control thread. All else is for the control
// thread.
class CopiesEntry : public std::enable_shared_from_this<CopiesEntry> {
 public:
  using Done = std::function<void()>;

  // Null: the ranks' threads copy. `parts` has its peers; it is not touched any more. `done` is
  // told once, unless cancel() comes first.
  static std::shared_ptr<CopiesEntry> start(const CommParts& parts, Done done);
  explicit CopiesEntry(const CommParts& parts);
  void cancel() { done_ = nullptr; }

  bool settled() const { return settled_; }
  const Status& status() const { return status_; }

  // Afterwards. Where staging memory of all peers was reached and holds what it should, they have
  // it, else nobody: dropStaging().
  void give(CommParts* parts);

 private:
  struct Peer {
    Segment segment;
    std::shared_ptr<void> held;  // the mapping of `segment`
    bool here;                   // a thread of this process
    std::string name;
  };
  void open();
  Status openCopies();
  Status openImages();
  Status reachAll();
  void settle();

  const int rank_;
  const bool byImages_;
  const SegmentLayout layout_;
  const std::vector<RankCard> cards_;
  std::shared_ptr<Device> device_;
  std::shared_ptr<StagingPool> pool_;  // null: bytes wait in the segments
  std::vector<Peer> peers_;            // by rank, of this host
  Done done_;
  bool settled_ = false;

  // By the thread, before it posts settle().
  Status status_;
  std::unique_ptr<CopyStream> copies_;
  std::unique_ptr<ImageMemory> images_;
  std::vector<uint8_t*> staging_;  // by rank; empty: not all were reached
};

// Bytes wait in the segments. Says so to the peers, who may then free theirs.
void dropStaging(CommParts* parts);

}  // namespace flexlink
