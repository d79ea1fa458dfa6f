// SPDX-License-Identifier: Apache-2.0
// In pass-through: calls that the vendor and lanes of ours beside it carry together. The vendor's
// slice is called where the program called the whole, in a group, and ours runs beside it between
// two fences.
#pragma once

#include <memory>
#include <vector>

#include "comm/passed_comms.h"
#include "comm/side.h"

namespace flexlink {

// Our parts of the calls of one outermost group.
class CutCalls {
 public:
  void add(const std::shared_ptr<Side>& side, SideCall call, cudaStream_t stream);

  // Before the vendor begins: start fences, and our parts behind them. Where one fails, all of them
  // have given up, and the vendor must not begin.
  ncclResult_t enter() noexcept;

  // When the vendor has taken its parts, with this result: end fences. On stream NULL nothing is
  // left to do afterwards. The result of both.
  ncclResult_t leave(ncclResult_t vendors) noexcept;

 private:
  struct Part {
    std::shared_ptr<Side> side;
    std::vector<SideCall> calls;
    std::vector<cudaStream_t> streams;
    bool blocks = false;  // one of them is NULL
  };
  Status enterAll();
  static Status leavePart(const Part& part);
  ncclResult_t vendorFailed(ncclResult_t vendors) const;
  static void giveUp(const Part& part, const Status& reason);

  std::vector<Part> parts_;
};

// One call of the program on a communicator with lanes of ours beside it.
class Cutting {
 public:
  Cutting(const VendorApi& vendor, std::shared_ptr<Side> side, const PassedCall& call) noexcept;

  // The vendor carries all of it: hand it over as it is.
  bool whole() const { return whole_; }
  uint64_t vendorsCount() const { return vendors_.count; }

  // Else: both parts.
  ncclResult_t run() noexcept;

  // The result of a call that has failed: as the vendor told it, unless our lanes are the cause.
  ncclResult_t causeOf(ncclResult_t failed) const noexcept;

 private:
  Status cut(const PassedCall& call);
  ncclResult_t callInGroup(CutCalls* group) noexcept;

  const VendorApi& vendor_;
  const std::shared_ptr<Side> side_;
  const cudaStream_t stream_;
  bool whole_ = true;
  ncclResult_t failed_ = ncclSuccess;  // our lanes: nothing is called
  Call vendors_;                       // no elements: none
  SideCall ours_;
};

template <typename Whole>
ncclResult_t callBoth(const VendorApi& vendor, PassedWatch* watch, PassedCall call,
                      Whole&& whole) noexcept {
  Cutting cutting(vendor, watch->side(), call);
  call.count = cutting.vendorsCount();
  watch->begun(call);
  ncclResult_t result = cutting.whole() ? whole() : cutting.run();
  return taken(result) ? result : cutting.causeOf(result);
}

// Of the calling thread's group; null: it is in none.
CutCalls* cutsOfGroup() noexcept;

// A call of the calling thread has failed: of its group, if it is in one, nothing is to run. Where
// nothing runs beside the vendor, that is the vendor's own affair.
void failGroup(const VendorApi& vendor, ncclResult_t result) noexcept;

// A failure of ours as the result of a call that passes through.
ncclResult_t ourResult(const Status& status) noexcept;

}  // namespace flexlink
