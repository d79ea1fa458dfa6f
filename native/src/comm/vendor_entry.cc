// SPDX-License-Identifier: Apache-2.0
#include "comm/vendor_entry.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/reactor.h"
#include "base/settings.h"
#include "comm/lane_wish.h"

namespace flexlink {
namespace {

constexpr int64_t kLookNanos = 1'000'000;
// A vendor whose ranks do not find each other must not keep ours from working without it.
constexpr int64_t kMeetingNanos = 20'000'000'000;

Status fill(VendorCard* card, bool first) {
  if (settings().vendorPath.empty()) {
    return makeStatus(Code::kInvalidUsage, "FLEXLINK_NCCL_PATH does not say which library it is");
  }
  if (!settings().commId.empty()) {
    return makeStatus(Code::kInvalidUsage,
                      "NCCL_COMM_ID would lead the vendor's ranks to the port of ours");
  }
  FLEXLINK_TRY_ASSIGN(const VendorApi* api, openVendor(settings().vendorPath));
  FLEXLINK_TRY(VendorComm::possibleWith(*api));
  if (first) {
    ncclResult_t result = api->ncclGetUniqueId(&card->id);
    if (result != ncclSuccess) {
      return makeStatus(static_cast<Code>(result), "ncclGetUniqueId of %s: %s", api->path.c_str(),
                        api->ncclGetLastError(nullptr));
    }
  }
  card->able = 1;
  FLEXLINK_INFO(kInit, "vendor's library: %s, version %d", api->path.c_str(), api->version);
  return {};
}

}  // namespace

Result<VendorCard> myVendorCard(bool first) {
  VendorCard card{};
  FLEXLINK_TRY_ASSIGN(LaneWish wish, parseLanes(settings().lanes));
  // A second copy that stands in for the vendor reads the same settings.
  card.wanted = wish.names("vendor") && !isThisLibrary(settings().vendorPath) ? 1 : 0;
  if (card.wanted == 0) return card;
  card.fixed = wish.fixed() || settings().deterministic ? 1 : 0;
  card.part = vendorPart(wish);
  Status status = fill(&card, first);
  if (!status.ok()) FLEXLINK_WARN("the vendor lane is not used: %s", status.text());
  return card;
}

std::optional<Weights> fixedWeights(const VendorCard& first) {
  if (first.fixed == 0) return {};
  return sharesOf(first.part);
}

std::shared_ptr<VendorEntry> VendorEntry::start(int ranks, int rank, const VendorCard& first,
                                                Done done) {
  auto entry = std::make_shared<VendorEntry>();
  entry->done_ = std::move(done);
  entry->deadline_ = nowNanos() + kMeetingNanos;
  Result<const VendorApi*> api = openVendor(settings().vendorPath);  // open already: no error
  Result<std::unique_ptr<VendorComm>> comm = VendorComm::begin(api.value(), ranks, rank, first.id);
  Status status = comm.ok() ? Status() : comm.status();
  if (comm.ok()) entry->comm_ = std::move(comm.value());
  Reactor::instance().value()->post(
      [entry, status] { status.ok() ? entry->look() : entry->settle(status); });
  return entry;
}

void VendorEntry::look() {
  if (!done_) return;
  Status status = comm_->ready();
  if (status.code() == Code::kInProgress) {
    if (nowNanos() < deadline_) {
      auto self = shared_from_this();
      Reactor::instance().value()->after(kLookNanos, [self] { self->look(); });
      return;
    }
    status = makeStatus(Code::kTimeout, "the vendor's ranks did not meet within %lld s",
                        static_cast<long long>(kMeetingNanos / 1'000'000'000));
  }
  settle(status);
}

void VendorEntry::settle(const Status& status) {
  if (!done_) return;
  if (!status.ok()) {
    FLEXLINK_WARN("no vendor lane: %s", status.text());
    comm_.reset();
  }
  std::exchange(done_, nullptr)();
}

}  // namespace flexlink
