// SPDX-License-Identifier: Apache-2.0
// One rank of one communicator: who it is, its lane, the order of its work, its state after an
// error. It is driven under the lock of its shell (shell.h) by one thread at a time.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "balance/path_model.h"
#include "comm/batch_queue.h"
#include "comm/epoch_meeting.h"
#include "comm/rank_card.h"
#include "comm/rendezvous.h"
#include "comm/staging_pool.h"
#include "comm/vendor_entry.h"
#include "device/cuda/cuda_device.h"
#include "device/host/stream.h"
#include "engine/engine.h"
#include "flexlink/nccl.h"
#include "lane/hier/hier_lane.h"
#include "lane/image/image_lane.h"
#include "lane/memory/memory_lane.h"
#include "lane/message/message_lane.h"
#include "lane/split/split_lane.h"
#include "link/tcp/tcp_door.h"
#include "probe/probe_writer.h"

namespace flexlink {

struct CommConfig {
  bool blocking = true;
  std::string name;
};

// A rank of another process whose death ends a meeting, because it is expected there.
struct Attendant {
  std::shared_ptr<PeerProcess> process;  // on this host, or
  std::shared_ptr<Bundle> bundle;        // on another
  std::string name;
  bool dead() const;
};

// All that creation has found out; moved into the communicator. The door admits the cookie.
struct CommParts {
  int rank = 0;
  std::vector<RankCard> cards;
  HostMap hosts;
  Cookie cookie{};
  uint64_t parentHash = 0;
  CommConfig config;
  std::shared_ptr<CudaDevice> gpu;      // null: on host memory
  std::shared_ptr<OwnSegment> segment;  // this rank's
  SegmentLayout layout;
  std::vector<MemoryPeer> peers;
  std::vector<std::shared_ptr<Bundle>> bundles;  // by rank, of other hosts; empty: there are none
  MemoryTuning tuning;
  std::unique_ptr<CopyStream> copies;    // null: the CPU copies and adds
  std::unique_ptr<ImageMemory> images;   // null: lanes work on the user's memory itself
  std::shared_ptr<StagingPool> staging;  // of a GPU; null: in the segment
  std::unique_ptr<VendorComm> vendor;    // null: no vendor lane
  int cores = 1;                         // that the ranks of this host may run on
  bool oversubscribed = false;

  // On GPUs of several hosts: what moves is an image in the host's memory.
  bool byImages() const { return gpu != nullptr && hosts.hosts() > 1; }

  // Peers may still read our segment: they hold their own mapping of it. Theirs are ours to unmap.
  // Control thread only.
  void releasePeers();
};

// A reduction op made by ncclRedOpCreatePreMulSum.
struct UserOp {
  bool used = false;
  DataType type{};
  uint64_t scalar = 0;
  const void* address = nullptr;  // read when the collective runs; nullptr: `scalar` holds
};

struct WindowPart {
  RegionRef region;
  void* address = nullptr;  // in the owner's process; of a GPU's memory: in this one
  size_t bytes = 0;
  MemoryHandle handle{};  // of a GPU's memory
};

class Communicator {
 public:
  explicit Communicator(CommParts parts, Driven* shell);
  ~Communicator();

  int rank() const { return parts_.rank; }
  int ranks() const { return static_cast<int>(parts_.cards.size()); }
  int hosts() const { return parts_.hosts.hosts(); }
  int device() const { return parts_.cards[static_cast<size_t>(parts_.rank)].device; }
  const std::shared_ptr<CudaDevice>& gpu() const { return parts_.gpu; }  // null: on host memory
  bool byImages() const { return parts_.byImages(); }
  uint64_t hash() const { return hash_; }
  const Cookie& cookie() const { return parts_.cookie; }
  const CommConfig& config() const { return parts_.config; }
  const RankCard& card(int rank) const { return parts_.cards[static_cast<size_t>(rank)]; }
  bool oneProcess() const;
  std::string laneText() const;  // for the log
  void addAttendant(int rank, std::vector<Attendant>* to) const;
  // At the door of rank 0, as long as the communicator lives: where ranks agree on shares.
  Result<Meeting> epochMeeting() const;
  size_t segmentBytes() const { return parts_.layout.bytes(); }
  size_t stagingBytes() const { return parts_.layout.stagingBytes(); }

  // With the shell's lock:
  Status runNow(Call call);  // a collective; returns when it is done
  Status runNow(Batch* batch);
  DriveResult drive(bool look);
  void drainOrFail();  // until no work is left
  void drainAllButReceives();
  Status finalize();

  // Any thread:
  void enqueue(std::unique_ptr<PendingBatch> pending);
  void expose(void* address, size_t bytes) { lane_->expose(address, bytes); }  // idle
  void conceal(void* address) { lane_->conceal(address); }
  double estimate(const Call& call) const;  // seconds that it would take; calls nobody
  Status usable() const;                    // ok, or why no call is possible now
  Status firstFailure() const;              // ok while none
  void giveUp(const Status& reason);
  void revoke();
  void abort();
  bool revoked() const { return revoked_.load(std::memory_order_acquire); }
  Status lookAtPeers();  // with the lock; never waits
  uint64_t nextOrdinal() { return ordinal_++; }

  // How long the operation at hand may stand still; seconds, <= 0: no limit. Any thread.
  void setTimeout(double seconds) { timeout_.store(seconds, std::memory_order_relaxed); }
  int waitsFor() const { return lane_->state().waitingFor; }  // rank or -1; any thread

  // This process ends: peers need not take it for dead. Any thread.
  void leave() { lane_->close(); }

  // Suspend and resume (with the lock, idle).
  Status suspend();
  Status resume();
  bool suspended() const { return suspended_; }

  // Used by api/ only, by one thread at a time.
  std::vector<UserOp> userOps;
  std::unordered_map<const void*, std::unique_ptr<char>> registered;  // handles
  std::shared_ptr<HostStream> ownStream;  // of a non-blocking communicator, for stream NULL

 private:
  std::unique_ptr<Lane> makeLane();
  std::unique_ptr<Lane> makeOwnLane();
  std::unique_ptr<Lane> makeLaneOverHosts(ProbeComm* probe);
  std::unique_ptr<MemoryLane> makeMemoryLane(ProbeComm* probe);
  std::unique_ptr<MessageLane> makeMessageLane(const std::vector<int>& ranks, int place,
                                               uint64_t id, ProbeComm* probe) const;
  PathModel memoryPath() const;
  PathModel wirePath(int peer) const;

  // progress.cc
  bool hasWork() const { return !queue_.empty() || incomingAny_.load(std::memory_order_acquire); }
  void takeIncoming();
  void startOpen();
  DriveResult afterMove();
  void finish(PendingBatch* pending, const Status& status);
  void finishOne();
  void number(Batch* batch);
  Status checkWait();
  int64_t waitedSince(int64_t now);
  Status readyToRun();
  Status runAmong(Batch* batch);
  template <typename Done>
  void driveUntil(Done&& done);
  Status finishNow();

  void failAll(const Status& status);
  void noteFailure(const Status& status, const Status& told);
  void tellPeers();
  bool uses(const std::string& name) const;
  void noteNicsOut();
  void noteLinks();

  CommParts parts_;
  const uint64_t hash_;
  Driven* const shell_;
  WaitPolicy policy_;
  ProbeComm* probe_;
  uint8_t probeLane_ = FLEXLINK_PROBE_LANE_MEMORY;  // what the lane is in the probe
  ProbeComm* unseen_ = nullptr;                     // of the lanes below another one
  int nicsOut_ = -1;  // links in the probe that stand for NICs that are out; -1: not yet
  std::unique_ptr<Lane> lane_;
  std::shared_ptr<EpochMeeting> epochs_;  // null: one lane, or fixed shares
  BatchQueue queue_;                      // with the shell's lock
  std::mutex incomingMutex_;              // guards incoming_; a leaf lock
  std::deque<std::unique_ptr<PendingBatch>> incoming_;
  std::atomic<bool> incomingAny_{false};  // release in enqueue, acquire in drive
  int64_t waitingSince_ = 0;              // ns; of what is at hand alone, for timeout_
  int64_t lookedAt_ = 0;                  // ns; the last look around beside messages that move
  std::atomic<double> timeout_;           // seconds; relaxed: FLEXLINK_TIMEOUT, or what was set
  uint64_t ordinal_ = 0;
  uint64_t entered_ = 0;  // calls so far; by the thread that uses the communicator
  bool suspended_ = false;
  bool finalized_ = false;
  std::atomic<bool> revoked_{false};  // release in revoke, acquire in revoked
  std::atomic<bool> aborted_{false};  // read when it is closed, behind the shell's locks

  mutable std::mutex failureMutex_;  // guards the next two; a leaf lock
  Status failure_;                   // the first
  Status told_;                      // what peers hear of it
  std::atomic<bool> failed_{false};  // release with failure_, acquire in usable()
};

}  // namespace flexlink
