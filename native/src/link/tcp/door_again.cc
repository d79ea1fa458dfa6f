// SPDX-License-Identifier: Apache-2.0
// What the door does after a bundle is made: links that were lost, NICs that come and go, bundles
// that nobody may be waiting for, and what is kept for the next job.
#include <algorithm>

#include "base/clock.h"
#include "link/tcp/door_class.h"

namespace flexlink {
namespace {

constexpr int64_t kLastPauseNanos = 800'000'000;
constexpr int64_t kGoodLifeNanos = 5'000'000'000;  // of a link: its next pause is short again
constexpr int64_t kLookNanos = 50'000'000;         // between two looks at a bundle that owes

}  // namespace

// For the next job.
void TcpDoor::remember() {
  for (auto& [id, entry] : entries_) {
    if (!entry.ready) continue;
    for (const LinkState& link : entry.bundle->state()) {
      for (const auto& [number, pair] : entry.pairs) {
        if (pair.name == link.name) known_->note(link, pair.peerHost);
      }
    }
  }
  if (known_) known_->save();
}

// The side that has dialled at first does so again. Shared memory fails with the peer alone.
void TcpDoor::dialAgainLater(const ProcessId& id, uint32_t number) {
  if (number == kPcieNumber) return;
  DoorEntry& entry = entries_[id];
  if (!entry.ready || !(myProcessCard().value()->id < id) || entry.bundle->failed()) return;
  DoorPair& pair = entry.pairs[number];
  if (pair.dialing) return;
  pair.dialing = true;
  if (nowNanos() - pair.madeAt > kGoodLifeNanos && pair.madeAt != 0) pair.pause = kFirstPauseNanos;
  pair.madeAt = 0;
  pair.timer = reactor_->after(pair.pause, [this, id, number] { dialAgain(id, number); });
  pair.pause = std::min(2 * pair.pause, kLastPauseNanos);
}

void TcpDoor::dialAgain(const ProcessId& id, uint32_t number) {
  DoorEntry& entry = entries_[id];
  DoorPair& pair = entry.pairs[number];
  pair.timer = 0;
  if (entry.bundle->failed()) return;
  ++pair.round;
  dialOne(&entry, number);
}

// Over a NIC that is down nothing arrives; as soon as it is up again its links are tried.
void TcpDoor::onNic(const std::string& nic, bool up) {
  for (auto& [id, entry] : entries_) {
    if (!entry.ready) continue;
    for (auto& [number, pair] : entry.pairs) {
      if (pair.name != "tcp:" + nic) continue;
      if (!up) {
        entry.bundle->drop(number, makeStatus(Code::kRemote, "%s is down", nic.c_str()));
      } else if (pair.timer != 0) {
        reactor_->cancel(pair.timer);
        dialAgain(id, number);
      }
    }
  }
}

// Frames wait for an answer, and maybe nobody here waits for it: the peer does.
void TcpDoor::mind(const ProcessId& id) {
  reactor_->after(kLookNanos, [this, id] {
    auto found = entries_.find(id);
    if (found == entries_.end() || !found->second.bundle) return;
    if (found->second.bundle->look(nowNanos())) mind(id);
  });
}

}  // namespace flexlink
