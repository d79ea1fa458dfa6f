// SPDX-License-Identifier: Apache-2.0
#include "comm/paths.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/settings.h"

namespace flexlink {
namespace {

constexpr int64_t kConnectNanos = 20'000'000'000;  // for the data connections to a peer

}  // namespace

Paths::Paths(CommParts* parts, std::vector<PeerNics> nics, Done done)
    : parts_(parts), nics_(std::move(nics)), done_(std::move(done)) {}

// To the peers on other hosts at once, to those on this one by one; the answers come as events.
void Paths::start() {
  const HostMap& hosts = parts_->hosts;
  auto self = shared_from_this();
  parts_->peers.resize(parts_->cards.size());
  parts_->bundles.resize(hosts.hosts() > 1 ? parts_->cards.size() : 0);
  missing_ = static_cast<size_t>(hosts.ranks()) - hosts.neighbours().size() + 1;
  for (int rank = 0; rank < hosts.ranks(); ++rank) {
    peerOf(rank).rank = rank;
    peerOf(rank).name = rankName(rank, cardOf(rank));
  }
  for (int rank = 0; rank < hosts.ranks() && parts_ != nullptr; ++rank) {
    if (!hosts.sameHost(rank)) connect(rank);
  }
  mapNext();
}

void Paths::connect(int rank) {
  const RankCard& card = cardOf(rank);
  DataPeer peer{card.process.id, card.process.cookie, processName(card.process),
                nics_[static_cast<size_t>(rank)].side,
                nics_[static_cast<size_t>(rank)].oneLoopback};
  auto self = shared_from_this();
  connectBundle(peer, nowNanos() + kConnectNanos,
                [self, rank](const Result<std::shared_ptr<Bundle>>& bundle) {
                  if (self->parts_ == nullptr) return;
                  if (!bundle.ok()) return self->end(bundle.status());
                  self->parts_->bundles[static_cast<size_t>(rank)] = bundle.value();
                  self->reached();
                });
}

void Paths::mapNext() {
  if (parts_ == nullptr) return;
  ProcessId mine = myProcessCard().value()->id;
  const std::vector<int>& neighbours = parts_->hosts.neighbours();
  while (mapped_ < neighbours.size()) {
    int rank = neighbours[mapped_];
    const RankCard& card = cardOf(rank);
    MemoryPeer& peer = peerOf(rank);
    peer.pid = card.process.pid;
    if (card.process.id != mine) {
      auto self = shared_from_this();
      return connectPeer(card.process, [self, rank](Result<std::shared_ptr<PeerProcess>> process) {
        if (self->parts_ == nullptr && process.ok()) return releasePeer(std::move(process.value()));
        if (!process.ok()) return self->deny(rank, process.status());
        self->mapPeer(rank, process.value());
      });
    }
    peer.own = OwnSegment::find(card.segmentRegion);
    if (!peer.own) return end(makeStatus(Code::kRemote, "%s is gone", peer.name.c_str()));
    peer.segment = Segment(peer.own->base(), parts_->layout);
    peer.bell = &myDoorbell();
    ++mapped_;
  }
  reached();
}

void Paths::mapPeer(int rank, const std::shared_ptr<PeerProcess>& process) {
  peerOf(rank).process = process;
  auto self = shared_from_this();
  process->fetch(cardOf(rank).segmentRegion, [self, rank](const Result<PeerProcess::Mapping>& got) {
    if (self->parts_ == nullptr) return;
    if (!got.ok()) return self->deny(rank, got.status());
    MemoryPeer& peer = self->peerOf(rank);
    Segment segment(got.value()->base(), self->parts_->layout);
    // What is advertised is verified: the right bytes must be there.
    bool right = got.value()->bytes() >= self->parts_->layout.bytes() &&
                 segment.header().magic == kSegmentMagic &&
                 segment.header().rank == static_cast<uint32_t>(rank);
    if (!right) {
      return self->deny(rank, makeStatus(Code::kSystem, "it does not hold what it should"));
    }
    peer.segment = segment;
    peer.mapping = got.value();
    self->mapWake(rank);
  });
}

void Paths::mapWake(int rank) {
  auto self = shared_from_this();
  peerOf(rank).process->fetch(cardOf(rank).process.wakeRegion,
                              [self, rank](const Result<PeerProcess::Mapping>& got) {
                                if (self->parts_ == nullptr) return;
                                if (!got.ok()) return self->deny(rank, got.status());
                                MemoryPeer& peer = self->peerOf(rank);
                                peer.bell = static_cast<Doorbell*>(got.value()->base());
                                peer.cma = self->mayAttach(rank);
                                self->cma_ = self->cma_ && peer.cma;
                                Segment own(self->parts_->segment->base(), self->parts_->layout);
                                int local = self->parts_->hosts.localOf[static_cast<size_t>(rank)];
                                own.pair(local).attaches.store(peer.cma, std::memory_order_release);
                                ++self->mapped_;
                                self->mapNext();
                              });
}

// Containers, seccomp, another user: the same machine, but no shared memory.
void Paths::deny(int rank, const Status& why) {
  if (parts_ == nullptr) return;
  FLEXLINK_INFO(kInit, "no shared memory with %s, TCP instead: %s", peerOf(rank).name.c_str(),
                why.text());
  denied_.push_back(static_cast<uint32_t>(rank));
  ++mapped_;
  mapNext();
}

// Whether the kernel lets us read that process's memory, found out by doing it.
bool Paths::mayAttach(int rank) const {
  if (!settings().cma) return false;
  const MemoryPeer& peer = parts_->peers[static_cast<size_t>(rank)];
  uint32_t magic = 0;
  iovec local{&magic, sizeof magic};
  iovec remote{reinterpret_cast<void*>(peer.segment.header().selfAddress), sizeof magic};
  ssize_t got = process_vm_readv(peer.pid, &local, 1, &remote, 1, 0);
  if (got == sizeof magic && magic == kSegmentMagic) return true;
  FLEXLINK_INFO(kInit, "no cross-memory attach to %s (%s): copies go through shared memory",
                peer.name.c_str(), got < 0 ? strerror(errno) : "another process answered");
  return false;
}

void Paths::reached() {
  if (--missing_ == 0) end({});
}

void Paths::end(const Status& status) {
  if (parts_ == nullptr) return;
  parts_ = nullptr;
  done_(status);
}

}  // namespace flexlink
