// SPDX-License-Identifier: Apache-2.0
// How the vendor's library comes into a communicator: what ranks tell each other about it, and its
// own communicator in the making. All ranks have it, or none. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "balance/weights.h"
#include "lane/vendor/vendor_comm.h"

namespace flexlink {

// Part of a rank's card.
struct VendorCard {
  uint8_t wanted;   // FLEXLINK_LANES names it
  uint8_t able;     // and it could be opened
  uint8_t fixed;    // the shares are: see part
  uint16_t part;    // of kWholeWeight; the rest is our own lane's
  ncclUniqueId id;  // rank 0's: where the vendor's ranks meet
};

// `first`: of rank 0. Says in the log why the lane is not possible here. The error: FLEXLINK_LANES
// is wrong.
Result<VendorCard> myVendorCard(bool first);

// Rank 0's fixed shares of {vendor, own}; none: they are agreed upon while the job runs.
std::optional<Weights> fixedWeights(const VendorCard& first);

class VendorEntry : public std::enable_shared_from_this<VendorEntry> {
 public:
  // `done` is called once, unless it is cancelled: from now on it is settled.
  using Done = std::function<void()>;
  static std::shared_ptr<VendorEntry> start(int ranks, int rank, const VendorCard& first,
                                            Done done);

  void cancel() { done_ = nullptr; }

  // Whether the vendor's communicator is there is known; why not, the log says.
  bool settled() const { return done_ == nullptr; }
  bool there() const { return settled() && comm_ != nullptr; }

  // Once, where it is there.
  std::unique_ptr<VendorComm> take() { return std::move(comm_); }

 private:
  void look();
  void settle(const Status& status);

  Done done_;  // null: over
  int64_t deadline_ = 0;
  std::unique_ptr<VendorComm> comm_;
};

}  // namespace flexlink
