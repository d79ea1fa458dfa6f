// SPDX-License-Identifier: Apache-2.0
#include "comm/copies.h"

#include <utility>
#include <vector>

#include "device/host/host_device.h"

namespace flexlink {

// Peers that are threads of this process pin their segments themselves.
Result<std::unique_ptr<CopyStream>> openCopies(const CommParts& parts) {
  if (parts.cards.empty() || parts.cards[0].byDevice == 0) return std::unique_ptr<CopyStream>();
  std::vector<Segment> pinned;
  for (int rank : parts.hosts.neighbours()) {
    const MemoryPeer& peer = parts.peers[static_cast<size_t>(rank)];
    if (rank == parts.rank || peer.process != nullptr) pinned.push_back(peer.segment);
  }
  return CopyStream::open(std::make_shared<HostDevice>(), std::move(pinned), parts.layout);
}

}  // namespace flexlink
