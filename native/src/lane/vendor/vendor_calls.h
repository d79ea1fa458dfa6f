// SPDX-License-Identifier: Apache-2.0
// Which of the vendor's functions stand for a call of ours, or for a slice of one; used by the
// vendor lane, and where calls pass through and a lane of ours carries the rest. Not for two
// threads at once.
#pragma once

#include <deque>
#include <vector>

#include "drivers/libnccl.h"
#include "lane/batch.h"

namespace flexlink {

class VendorCalls {
 public:
  // Where the vendor is to do it.
  struct Place {
    ncclComm_t comm;
    cudaStream_t stream;
  };

  // Does this library have what is called? The error names what is missing.
  static Status possibleWith(const VendorApi& api);

  // Of this rank; `api` has what possibleWith() asks for.
  VendorCalls(const VendorApi& api, int rank, int ranks) : api_(api), rank_(rank), ranks_(ranks) {}

  // ncclInProgress is as good as ncclSuccess: the communicator tells the rest. What takes several
  // of the vendor's calls belongs into a group: see several().
  ncclResult_t make(const Call& call, const Place& at);

  // The function that was called last.
  const char* last() const { return last_; }

  // Blocks that lie apart, and what the vendor is too old for.
  bool several(const Call& call) const;

  // What was called is finished: copies of what in-place calls send are free again.
  void done() { copies_.clear(); }

 private:
  ncclResult_t fold(const Call& call, const Place& at);
  ncclResult_t whole(const Call& call, const Place& at);
  ncclResult_t blocks(const Call& call, const Place& at);
  ncclResult_t block(const Call& call, int peer, size_t offset, const Place& at);
  const uint8_t* safeSend(const Call& call, size_t offset);
  bool hasWhole(const Call& call) const;

  const VendorApi& api_;
  const int rank_;
  const int ranks_;
  const char* last_ = "";
  std::deque<std::vector<uint8_t>> copies_;
};

}  // namespace flexlink
