// SPDX-License-Identifier: Apache-2.0
#include "comm/copies.h"

#include <utility>
#include <vector>

#include "base/log.h"
#include "comm/unique_id.h"
#include "device/cuda/cuda_device.h"
#include "device/host/host_device.h"

namespace flexlink {

Result<std::unique_ptr<CopyStream>> openCopies(const CommParts& parts) {
  if (parts.cards.empty() || parts.cards[0].byDevice == 0) return std::unique_ptr<CopyStream>();
  std::vector<Segment> pinned;
  for (int rank : parts.hosts.neighbours()) {
    pinned.push_back(parts.peers[static_cast<size_t>(rank)].segment);
  }
  std::shared_ptr<Device> device = parts.gpu;
  if (device == nullptr) device = std::make_shared<HostDevice>();
  return CopyStream::open(std::move(device), std::move(pinned), parts.layout);
}

namespace {

// What a rank writes into its staging memory before it tells others where that is.
uint64_t markOf(const Cookie& cookie, int rank) {
  return publicHash(cookie) + static_cast<uint64_t>(rank) + 1;
}

}  // namespace

void makeStaging(CommParts* parts, RankCard* card) {
  const DeviceStaging layout{parts->layout.ranks, parts->layout.poolBytes};
  Result<std::unique_ptr<StagingPool>> made =
      StagingPool::make(parts->gpu, layout.bytes(), markOf(parts->cookie, parts->rank));
  if (!made.ok()) {
    FLEXLINK_WARN("rank %d has no staging memory on its GPU, the host's serves: %s", parts->rank,
                  made.status().text());
    return;
  }
  parts->staging = std::move(made.value());
  card->staging = parts->staging->handle();
  card->hasStaging = 1;
}

void reachStaging(CommParts* parts) {
  if (parts->staging == nullptr) return;
  std::vector<MemoryPeer> others = parts->peers;
  others.erase(others.begin() + parts->rank);
  parts->staging->shareWith(std::move(others));
  for (size_t rank = 0; rank < parts->cards.size(); ++rank) {
    MemoryPeer& peer = parts->peers[rank];
    const int number = static_cast<int>(rank);
    Status status =
        parts->cards[rank].hasStaging != 0
            ? parts->staging->reach(parts->cards[rank], markOf(parts->cookie, number), &peer)
            : makeStatus(Code::kCuda, "it has none");
    if (status.ok()) continue;
    FLEXLINK_INFO(kInit,
                  "rank %d: its GPU does not reach staging memory of %s, the host's serves: %s",
                  parts->rank, peer.name.c_str(), status.text());
    return dropStaging(parts);
  }
}

void dropStaging(CommParts* parts) {
  if (parts->gpu == nullptr || parts->segment == nullptr) return;
  parts->staging.reset();
  for (MemoryPeer& peer : parts->peers) peer.staging = nullptr;
  // Peers that wait for it may free theirs.
  Segment(parts->segment->base(), parts->layout).header().apart.store(1, std::memory_order_release);
}

}  // namespace flexlink
