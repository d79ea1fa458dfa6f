// SPDX-License-Identifier: Apache-2.0
#include "comm/copies.h"

#include <utility>

#include "base/log.h"
#include "base/reactor.h"
#include "base/settings.h"
#include "base/thread.h"
#include "comm/creation.h"
#include "device/host/host_device.h"

namespace flexlink {

void allocateStaging(CreationPlan* plan) {
  const bool beside = isSideMeeting(plan->meeting.key);
  const bool wanted = settings().staging == "gpu" || (settings().staging == "auto" && !beside);
  if (plan->gpu == nullptr || !wanted || (plan->split && plan->color < 0)) return;
  // A split may have fewer ranks than its parent: then the end of it lies idle.
  const DeviceStaging layout{static_cast<int>(plan->meeting.size), kPoolBytes};
  Result<std::shared_ptr<StagingPool>> made = StagingPool::make(plan->gpu, layout.bytes());
  if (made.ok()) {
    plan->staging = std::move(made.value());
  } else {
    FLEXLINK_WARN("no staging memory on the GPU, the host's serves: %s", made.status().text());
  }
}

CopiesEntry::CopiesEntry(const CommParts& parts)
    : rank_(parts.rank),
      byImages_(parts.byImages()),
      layout_(parts.layout),
      cards_(parts.cards),
      device_(parts.gpu),
      pool_(parts.staging) {
  if (device_ == nullptr) device_ = std::make_shared<HostDevice>();
  for (int rank : parts.hosts.neighbours()) {
    const MemoryPeer& peer = parts.peers[static_cast<size_t>(rank)];
    std::shared_ptr<void> held = peer.mapping;
    if (peer.process == nullptr) held = peer.own;
    peers_.push_back({peer.segment, std::move(held), peer.process == nullptr, peer.name});
  }
}

std::shared_ptr<CopiesEntry> CopiesEntry::start(const CommParts& parts, Done done) {
  if (parts.cards.empty() || parts.cards[0].byDevice == 0) return nullptr;
  auto entry = std::make_shared<CopiesEntry>(parts);
  entry->done_ = std::move(done);
  if (parts.staging != nullptr) {
    std::vector<MemoryPeer> others;  // who may come to read it
    if (!entry->byImages_) others = parts.peers;
    if (!others.empty()) others.erase(others.begin() + parts.rank);
    parts.staging->shareWith(std::move(others));
  }
  Status started = startThread("flexlink-gpu", "the thread that opens GPU memory", [entry] {
    entry->open();
    Reactor::instance().value()->post([entry] { entry->settle(); });
  });
  if (started.ok()) return entry;
  entry->status_ = started;
  entry->settled_ = true;
  return entry;
}

void CopiesEntry::open() { status_ = byImages_ ? openImages() : openCopies(); }

Status CopiesEntry::openImages() {
  const auto ranks = static_cast<int>(cards_.size());
  FLEXLINK_TRY_ASSIGN(images_, ImageMemory::open(device_, ranks));
  return {};
}

Status CopiesEntry::openCopies() {
  std::vector<PinnedRange> pinned;
  for (const Peer& peer : peers_) pinned.push_back({peer.segment.base(), layout_.bytes()});
  FLEXLINK_TRY_ASSIGN(copies_, CopyStream::open(device_, std::move(pinned)));
  Status reached = pool_ != nullptr ? reachAll() : Status();
  if (reached.ok()) return {};
  staging_.clear();
  FLEXLINK_INFO(kInit, "rank %d: its GPU does not reach staging memory of %s; the host's serves",
                rank_, reached.text());
  return {};
}

// All ranks are of this host.
Status CopiesEntry::reachAll() {
  for (size_t rank = 0; rank < peers_.size(); ++rank) {
    if (cards_[rank].hasStaging == 0) {
      return makeStatus(Code::kCuda, "%s: it has none", peers_[rank].name.c_str());
    }
    Result<uint8_t*> reached = pool_->reach(cards_[rank], peers_[rank].here);
    if (!reached.ok()) {
      return makeStatus(Code::kCuda, "%s: %s", peers_[rank].name.c_str(), reached.status().text());
    }
    staging_.push_back(reached.value());
  }
  return {};
}

void CopiesEntry::settle() {
  settled_ = true;
  if (done_) std::exchange(done_, nullptr)();
}

void CopiesEntry::give(CommParts* parts) {
  parts->copies = std::move(copies_);
  parts->images = std::move(images_);
  if (staging_.empty()) return dropStaging(parts);
  for (size_t rank = 0; rank < staging_.size(); ++rank) {
    parts->peers[rank].staging = staging_[rank];
  }
}

void dropStaging(CommParts* parts) {
  if (parts->gpu == nullptr || parts->segment == nullptr) return;
  parts->staging.reset();
  for (MemoryPeer& peer : parts->peers) peer.staging = nullptr;
  Segment(parts->segment->base(), parts->layout).header().apart.store(1, std::memory_order_release);
}

}  // namespace flexlink
