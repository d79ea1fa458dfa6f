// SPDX-License-Identifier: Apache-2.0
// In pass-through: calls that the vendor and lanes of ours beside it carry together. The vendor's
// slice is called as the program called the whole, and ours runs beside it between two fences.
#pragma once

#include <memory>
#include <vector>

#include "comm/passed_comms.h"
#include "comm/side.h"

namespace flexlink {

// Our parts of the calls of one outermost group, or of a lone call.
class CutCalls {
 public:
  explicit CutCalls(const VendorApi& vendor) : vendor_(vendor) {}

  void add(const std::shared_ptr<Side>& side, SideCall call, cudaStream_t stream);
  bool empty() const { return parts_.empty(); }

  // Before the vendor begins: start fences, and our parts behind them.
  Status enter();

  // When the vendor has taken its parts, with this result: end fences. On stream NULL nothing is
  // left to do afterwards. The result of both.
  ncclResult_t leave(ncclResult_t vendors);

  void giveUp(const Status& reason);

 private:
  struct Part {
    std::shared_ptr<Side> side;
    std::vector<SideCall> calls;
    std::vector<cudaStream_t> streams;
    bool blocks = false;  // one of them is NULL
  };
  void settle(const Part& part) const;
  Status leaveAll(const Part& part) const;

  const VendorApi& vendor_;
  std::vector<Part> parts_;
};

// One call of the program, which may be cut.
class Cutting {
 public:
  // side: of its communicator; null: none.
  Cutting(const VendorApi& vendor, std::shared_ptr<Side> side, const PassedCall& call) noexcept;

  // The vendor carries all of it: hand it over as it is.
  bool whole() const { return whole_; }
  uint64_t vendorsCount() const { return vendors_.count; }

  // Else: both parts.
  ncclResult_t run() noexcept;

 private:
  Status cut(const PassedCall& call);
  ncclResult_t callVendor() const;
  ncclResult_t runBoth();

  const VendorApi& vendor_;
  const std::shared_ptr<Side> side_;
  const cudaStream_t stream_;
  bool whole_ = true;
  Status failed_;
  Call vendors_;  // no elements: none
  SideCall ours_;
};

// Of the calling thread's group; null: it is in none.
CutCalls* cutsOfGroup(const VendorApi& vendor);

// A call of the calling thread has failed: its group, if it is in one, will launch nothing.
void failGroup(ncclResult_t result) noexcept;

// A failure of ours as the result of a call that passes through.
ncclResult_t ourResult(const Status& status) noexcept;

}  // namespace flexlink
