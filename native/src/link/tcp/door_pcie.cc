// SPDX-License-Identifier: Apache-2.0
// Links through shared memory, beside the door's TCP connections: to processes that see the same
// lo, and so the same Unix sockets.
#include <sys/epoll.h>

#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/settings.h"
#include "link/tcp/door_class.h"

namespace flexlink {
namespace {

constexpr int64_t kCalleeNanos = 5'000'000'000;  // for the dialer to say that all are there
constexpr int64_t kRoundTripNanos = 10'000;      // as is believed at first

}  // namespace

void TcpDoor::dialPcie(DoorEntry* entry) {
  const ProcessId id = entry->peer.id;
  DoorPair& pair = entry->pairs[kPcieNumber];
  pair.name = kPcieName;
  pair.dialing = true;
  auto call = PcieCall::dial(myProcessCard().value()->id, id, entry->peer.cookie,
                             static_cast<size_t>(settings().pcieBytes));
  if (!call.ok()) return concluded(id, kPcieNumber, call.status());
  awaitPcie(id, std::move(call.value()), true);
}

void TcpDoor::onPcieVisit(ExchangeVisit visit) {
  const ProcessId id = visit.from;
  auto call = PcieCall::answer(myProcessCard().value()->id, std::move(visit));
  if (call.ok()) return awaitPcie(id, std::move(call.value()), false);
  entries_[id].pairs[kPcieNumber].name = kPcieName;
  veto(&entries_[id], kPcieNumber, call.status().text());
}

void TcpDoor::awaitPcie(const ProcessId& id, std::unique_ptr<PcieCall> call, bool dials) {
  const int fd = call->fd();
  const int64_t patience = dials ? kDialNanos : kCalleeNanos;
  PcieWaiting& one = pcieCalls_[fd];
  one = {id, std::move(call), dials, 0};
  one.timer = reactor_->after(patience, [this, fd] { giveUpPcie(fd); });
  (void)reactor_->watch(fd, EPOLLIN,
                        [this, fd](uint32_t) { onPcie(fd, pcieCalls_.at(fd).call->step()); });
}

void TcpDoor::giveUpPcie(int fd) {
  onPcie(fd, makeStatus(Code::kTimeout, "the peer has not answered in time"));
}

// One of ours is there or has failed, or one that has come is to be used or not.
void TcpDoor::onPcie(int fd, const Status& status) {
  if (status.code() == Code::kInProgress) return;
  auto over = pcieCalls_.extract(fd);
  PcieWaiting& one = over.mapped();
  reactor_->cancel(one.timer);
  reactor_->unwatch(fd);
  if (one.dials) {
    if (status.ok()) entries_[one.id].pairs[kPcieNumber].pcie = std::move(one.call);
    return concluded(one.id, kPcieNumber, status);
  }
  DoorEntry& entry = status.ok() ? renewed(one.id, kPcieNumber) : entries_[one.id];
  entry.pairs[kPcieNumber].name = kPcieName;
  if (!status.ok()) return veto(&entry, kPcieNumber, status.text());
  const uint32_t links = one.call->links();
  entry.pairs[kPcieNumber].pcie = std::move(one.call);
  counted(&entry, links);
}

// Those that `dials` or not, of this peer, come to nothing.
void TcpDoor::turnAwayPcie(const ProcessId& id, bool dials) {
  std::vector<int> fds;
  for (const auto& [fd, one] : pcieCalls_) {
    if (one.id == id && one.dials == dials) fds.push_back(fd);
  }
  for (int fd : fds) {
    if (pcieCalls_.count(fd) != 0) giveUpPcie(fd);
  }
}

void TcpDoor::joinPcie(DoorEntry* entry) {
  DoorPair& pair = entry->pairs[kPcieNumber];
  pair.madeAt = nowNanos();
  pair.trouble.clear();
  pair.peerHost = "local";
  const std::unique_ptr<PcieCall> call = std::move(pair.pcie);
  FLEXLINK_INFO(kInit, "path %s to %s is used: its test bytes came right each way",
                pair.name.c_str(), entry->bundle->peer().c_str());
  entry->bundle->add(
      {kPcieNumber, 0}, [&](LinkEvents events) { return call->take(pair.name, std::move(events)); },
      known_->firstModel(pair.name, pair.peerHost, kRoundTripNanos));
}

}  // namespace flexlink
