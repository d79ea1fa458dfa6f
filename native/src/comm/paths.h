// SPDX-License-Identifier: Apache-2.0
// The ways from one rank to its peers when a communicator is made: shared memory to those of its
// host, bundles of links to all others. Control thread only.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace flexlink {

struct PeerNics {
  NicSide side;
  bool oneLoopback = false;  // its lo is ours
};

// Kept alive by the handlers of what is under way.
class Paths : public std::enable_shared_from_this<Paths> {
 public:
  using Done = std::function<void(const Status&)>;

  // `parts` (cards, segment, layout, hosts) must stay until `done` or cancel(). `nics`: by rank, of
  // the ranks on other hosts.
  Paths(CommParts* parts, std::vector<PeerNics> nics, Done done);

  // Reaches every peer; `done` is told once, when all are reached or one cannot be.
  void start();

  // From now on `parts` is not touched, and `done` is not called.
  void cancel() { parts_ = nullptr; }

  // Ranks that seem to be on this host but cannot share memory with this rank. After `done` without
  // error; then there are no paths yet: such ranks are to be reached as if on other hosts.
  const std::vector<uint32_t>& denied() const { return denied_; }

  // May this rank read the memory of all ranks of its host? After `done` without error.
  bool cma() const { return cma_; }

 private:
  void connect(int rank);
  void mapNext();
  void mapPeer(int rank, const std::shared_ptr<PeerProcess>& process);
  void mapWake(int rank);
  void deny(int rank, const Status& why);
  void reached();
  void end(const Status& status);
  bool mayAttach(int rank) const;
  RankCard& cardOf(int rank) { return parts_->cards[static_cast<size_t>(rank)]; }
  MemoryPeer& peerOf(int rank) { return parts_->peers[static_cast<size_t>(rank)]; }

  CommParts* parts_;  // null: over
  const std::vector<PeerNics> nics_;
  const Done done_;
  size_t mapped_ = 0;   // ranks of this host, in order
  size_t missing_ = 0;  // ways that are not there yet
  bool cma_ = true;
  std::vector<uint32_t> denied_;
};

}  // namespace flexlink
