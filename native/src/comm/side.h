// SPDX-License-Identifier: Apache-2.0
// A communicator of ours beside one of the vendor's, between the same ranks: what it takes to let
// our lanes carry a part of the vendor's collectives. README.md says how ranks come to have it.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "balance/weights.h"
#include "comm/shell.h"
#include "comm/side_times.h"
#include "comm/unique_id.h"
#include "drivers/libnccl.h"
#include "engine/stream_mirror.h"
#include "lane/split/epoch_board.h"

namespace flexlink {

struct CreationPlan;

// Where the ranks of one meet: the same on all of them. Children meet at their parent's.
struct SidePlace {
  UniqueId door;
  uint64_t number = 0;    // of a child: of parent, order and colour
  bool promised = false;  // by NCCL_COMM_ID: rank 0 may open it late
};

struct SidePlan {
  int rank = 0;
  int ranks = 0;
  SidePlace place;
  uint64_t parent = 0;  // id of the vendor's communicator in the probe
  std::string name;
};

// What FLEXLINK_LANES asks for beside a vendor.
struct SideWish {
  bool adapts = false;  // shares follow what calls take; else they are fixed
  Weights shares;       // {vendor, ours}, where they are fixed
};

// The error: why nothing is to run beside this vendor, which the log says where the user has asked
// for it. Decided once.
const Result<SideWish>& sideWish(const VendorApi& vendor);

// Do programs give this vendor buffers and streams of a GPU?
bool sidesOnGpu(const VendorApi& vendor);

// A call's part on our lanes, and the call.
struct SideCall {
  Call part;  // no elements: the vendor carries all, and is timed
  Whole whole;
  uint16_t operationClass = 0;
  uint32_t epoch = 0;
  std::array<double, 2> bytes{};  // of the vendor's part, and of ours
};

// Used by the thread that uses the vendor's communicator, but for what is said below.
class Side : public std::enable_shared_from_this<Side> {
 public:
  // `comm`: the vendor's.
  Side(const VendorApi& vendor, ncclComm_t comm, SidePlan plan);
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  int rank() const { return plan_.rank; }
  int ranks() const { return plan_.ranks; }
  ncclComm_t comm() const { return comm_; }
  bool onGpu() const { return sidesOnGpu(vendor_); }

  // The vendor's communicator is there: makes ours, in the background. Any thread.
  void start();

  // Calls with smaller blocks are the vendor's alone, where shares follow what calls take: to time
  // one costs two operations of its stream. The same on all ranks.
  size_t leastBytes() const;
  bool adapts() const { return adapts_; }
  bool lanesThere() const;  // ours are, on this rank

  // How the next collective is cut, in the order of calls: lane 0 is the vendor. Waits while ranks
  // agree. *epoch: by which shares.
  Result<Split> cut(const Call& call, uint32_t* epoch);

  // Is this stream being recorded into a graph, which only the vendor can replay?
  Result<bool> recorded(cudaStream_t stream) const;

  // One group's part on our lanes: it begins when `streams`, of the program, have come to where
  // they are now. leave(): from now on they wait for its end. A lone call on a stream is timed,
  // where that tells something.
  Status enter(std::vector<SideCall> calls, const std::vector<cudaStream_t>& streams);
  Status leave();

  // Until all that was entered is over; how it ended.
  Status wait();

  // Until the vendor has enqueued or done what it was called for; how that went. It ends when the
  // vendor says so, or when another thread aborts.
  Status awaitVendor();

  // The vendor's part has failed: why, if our lanes hear that from a peer within a moment.
  Status cause();

  // It has failed: until our lanes touch nothing of the program's any more.
  void awaitQuiet();

  // Any thread:
  Status failure() const;             // ok while none
  void fail(const Status& reason);    // tells the peers
  void giveUp(const Status& reason);  // and ends the vendor's part, too
  void abort();                       // ends it, whatever is under way
  void destroy();                     // waits for what is under way

 private:
  static void batchEnded(void* weakSelf);
  Status askVendor();
  Status findGpu(CreationPlan* plan) const;
  Result<StreamMirror*> mirrorOf(cudaStream_t stream) const;
  void timeCall(const SideCall& call);
  Status submitBatch(std::vector<SideCall> calls);
  void look();
  void joinEpochs();
  bool noteFailure(const Status& status);
  void revokeSoon();
  void revokeVendor();
  void letVendorGo();
  ncclComm* shell() const;
  ncclComm* close();
  Status said(const char* call, ncclResult_t result) const;

  const VendorApi& vendor_;
  const ncclComm_t comm_;
  const SidePlan plan_;
  const std::shared_ptr<EpochBoard> board_;
  const std::shared_ptr<HostStream> proxy_;  // where our part of all calls lies, in their order
  const bool adapts_;
  std::vector<StreamMirror*> mirrors_;  // of the streams of what was entered last
  bool submitted_ = false;              // of that, our lane has a part
  std::shared_ptr<SideTimes> times_;    // of that; null: it is not timed

  struct Kept {
    uint64_t ticket;  // of proxy_, where they end
    std::vector<SideCall> calls;
  };
  std::deque<Kept> kept_;  // what batches under way point at

  mutable std::mutex mutex_;   // guards the next four; before a shell's `life`
  ncclComm* shell_ = nullptr;  // null: not begun, or over
  bool over_ = false;          // nothing begins any more
  Status failure_;
  std::shared_ptr<EpochMeeting> epochs_;

  // Held while another thread than the program's, or one that may meet an abort, calls the vendor
  // with the communicator; such calls do not wait for a peer.
  std::mutex vendorMutex_;
  bool vendorThere_ = true;  // the program has not told the vendor to end it
};

}  // namespace flexlink
