// SPDX-License-Identifier: Apache-2.0
// How processes of one host come to share memory: each listens on an abstract Unix socket and hands
// the descriptor of a region to a peer of the same user that knows its cookie. The same connection
// tells when the peer is dead.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/fd.h"
#include "base/reactor.h"
#include "base/status.h"
#include "device/host/doorbell.h"
#include "device/host/region.h"

namespace flexlink {

using ProcessId = std::array<uint8_t, 16>;
using Cookie = std::array<uint8_t, 16>;

// What a process says of itself in a rank table. Trivially copyable: it travels as bytes.
struct ProcessCard {
  ProcessId id;
  Cookie cookie;      // whoever knows it may map this process's regions
  uint64_t hostHash;  // boot id, or FLEXLINK_HOSTID
  int32_t pid;
  uint32_t uid;
  uint32_t wakeRegion;  // the region with this process's Doorbell
  uint32_t flags;
  char hostName[48];
};

// Starts the Unix server on first use. Any thread.
Result<const ProcessCard*> myProcessCard();

// This process's doorbell; exists once myProcessCard() has succeeded.
Doorbell& myDoorbell();

// Rings it, where it exists: there may be nobody to sleep yet.
void ringOwnDoorbell();

// 128 random bits from the kernel.
Cookie randomCookie();

// One other process of this host. Made by connectPeer, shared by all communicators of this process.
class PeerProcess {
 public:
  using Mapping = std::shared_ptr<ForeignRegion>;
  using FetchDone = std::function<void(const Result<Mapping>&)>;

  const ProcessCard& card() const { return card_; }

  // True once the kernel has shown that the process is gone (pidfd, or its end of the socket
  // closed).
  bool dead() const { return dead_.load(std::memory_order_acquire); }

  // The peer's region in our address space, or nullptr with *pending = true while it is asked for,
  // or nullptr with *pending = false when the peer refused. Any thread.
  void* mapped(uint32_t regionId, bool* pending);

  // Control thread: forgets the region; who still holds its Mapping may go on using it.
  void forget(uint32_t regionId);

  // Control thread: maps a region and tells.
  void fetch(uint32_t regionId, FetchDone done);

 private:
  friend class Exchange;
  enum class State : uint8_t { kAsked, kMapped, kRefused };
  struct Slot {
    State state = State::kAsked;
    Mapping mapping;
  };

  ProcessCard card_{};
  Fd socket_;
  Fd pidfd_;
  std::atomic<bool> dead_{false};  // release by the control thread, acquire by dead()
  std::mutex mutex_;               // guards slots_; a leaf lock
  std::unordered_map<uint32_t, Slot> slots_;
  // Control thread only:
  std::unordered_map<uint32_t, std::vector<FetchDone>> waiting_;
};

// Control thread: connects to the process of `card` (or finds the connection that there is).
// Tells in the same call or later, once.
void connectPeer(const ProcessCard& card,
                 std::function<void(Result<std::shared_ptr<PeerProcess>>)> done);

// Control thread: drops the connection when `peer` is the last holder besides the registry.
void releasePeer(std::shared_ptr<PeerProcess> peer);

// Somebody who has come with memory for us, and a connection that is ours from now on.
struct ExchangeVisit {
  ProcessId from{};
  Fd socket;
  PeerProcess::Mapping memory;
};

// Control thread: `visited` is told of whoever comes; without it nobody is let in.
void onExchangeVisit(std::function<void(ExchangeVisit)> visited);

// Control thread: goes to a process of this host, with a region of ours. The peer sees who we are
// by `cookie`, which is its own; the connection is the caller's.
Result<Fd> visitProcess(const ProcessId& id, const Cookie& cookie, uint32_t regionId);

// Any thread: tells the peers that mapped the region to unmap it.
void announceFreed(uint32_t regionId);

}  // namespace flexlink
