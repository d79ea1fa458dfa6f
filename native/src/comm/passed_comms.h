// SPDX-License-Identifier: Apache-2.0
// Communicators of the vendor that the program holds while its calls pass through: a record for
// each, found by the vendor's own handle, and shown in the probe. Watching never changes a call.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/types.h"
#include "comm/side.h"
#include "drivers/libnccl.h"
#include "probe/probe_writer.h"

namespace flexlink {

// What a call that makes a communicator tells of it.
struct PassedFacts {
  int rank = -1;        // -1: the vendor is asked when the communicator is ready
  int ranks = -1;       // the same
  uint64_t id = 0;      // equal on all its ranks; 0: the vendor's own, where it tells one
  uint64_t parent = 0;  // id of the communicator that it comes from
  std::string name;
  std::optional<SidePlace> side;  // where ranks meet with lanes of ours; none: the vendor alone
};

// A call that enqueues work, as far as the probe shows it and lanes of ours may carry it.
struct PassedCall {
  Collective kind;
  ncclComm_t comm = nullptr;
  uint64_t count = 0;
  int type = -1;
  int op = 0;
  int root = -1;
  const void* send = nullptr;
  const void* recv = nullptr;
  int pointers = 0;  // of the buffers that were told
  cudaStream_t stream = nullptr;
  const ncclCollConfig_t* config = nullptr;
};

struct PassedComm {
  // The handle while the vendor's communicator lives, else null. Release when it is set, acquire
  // where a thread checks the record that it used last.
  std::atomic<ncclComm_t> handle{nullptr};

  std::mutex mutex;  // guards what follows; a leaf lock, never held while the vendor is called
  PassedFacts facts;
  uint64_t life = 0;      // counts the communicators that this record stood for
  uint64_t seq = 0;       // number of the next call
  uint64_t children = 0;  // made from it so far: in the same order on all ranks
  bool settled = false;   // the vendor has said that it is ready
  ProbeComm* probe = nullptr;
  std::shared_ptr<Side> side;  // null: the vendor carries all
};

// The vendor has made it. `ready`: it may be asked about itself.
void addPassed(const VendorApi& vendor, ncclComm_t handle, PassedFacts facts, bool ready);

// It will be at *place when the vendor has finished, without another call.
void expectPassed(const ncclComm_t* place, PassedFacts facts);

// The record of a handle that the program uses, which so is known to be ready; made where it is
// not there yet. Null for what the vendor does not know either.
PassedComm* usePassed(const VendorApi& vendor, ncclComm_t handle);

// The record of a handle if there is one.
PassedComm* findPassed(ncclComm_t handle);

// To be called before the vendor destroys it: afterwards its address may be another's. What is left
// of it is the caller's to end.
std::shared_ptr<Side> dropPassed(ncclComm_t handle, ProbeState end);

// Our lanes beside it; null: none.
std::shared_ptr<Side> sideOf(ncclComm_t handle);

// What the vendor says of its state.
void settlePassed(ncclComm_t handle, ncclResult_t state);
void finalizePassed(ncclComm_t handle);

// Facts of the next child; equal on the ranks that pass the same colour.
PassedFacts childFacts(ncclComm_t parent, uint64_t colour);

// Around a call.
class PassedWatch {
 public:
  PassedWatch(const VendorApi& vendor, const PassedCall& call) noexcept;

  // Our lanes beside the communicator; null: none. If there are some, begun() follows, with the
  // count of the vendor's part.
  const std::shared_ptr<Side>& side() const { return side_; }
  void begun(const PassedCall& call) noexcept;

  void ended(ncclResult_t result) noexcept;

 private:
  PassedComm* comm_ = nullptr;
  std::shared_ptr<Side> side_;
  uint64_t life_ = 0;
  uint64_t seq_ = 0;
};

}  // namespace flexlink
