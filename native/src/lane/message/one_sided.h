// SPDX-License-Identifier: Apache-2.0
// Puts and signals between ranks that can only send each other messages. A put is a notice, which
// says where the bytes belong, and then the bytes; the rank that they are for places them itself,
// whenever it polls, and only into its windows. Notices of one peer are taken in their order.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "lane/batch.h"
#include "lane/message/message_peer.h"

namespace flexlink {

class OneSidedCalls {
 public:
  // Posts a receive for the first notice of every peer; `comm` and `rank` as in the lane.
  OneSidedCalls(uint64_t comm, int rank, const std::vector<MessagePeer>& peers);

  // A window of this rank, where peers may put; or no longer.
  void expose(void* address, size_t bytes);
  void conceal(void* address);

  // PutSignal or Signal to call.root; *pending as in Bundle::send.
  void send(const Call& call, Pending* pending);

  // Takes what has come. The error: a put that is in no window.
  Status poll();

  // WaitSignal: so many signals of a peer, if they are there.
  bool take(const Call& call);

 private:
  // What comes before the bytes of a put, if there are any. Same on both sides.
  struct Notice {
    uint64_t address = 0;  // in the target process
    uint64_t bytes = 0;
    uint32_t signal = 0;
    uint32_t reserved = 0;
  };
  struct Window {
    uint8_t* begin;
    size_t bytes;
  };
  struct From {  // what comes from one peer
    Notice notice;
    uint64_t number = 0;   // of the notice that is awaited or at hand
    Pending awaited{0};    // the notice
    Pending bytes{0};      // its bytes
    bool placing = false;  // the notice was read
    std::vector<uint64_t> signals;
    std::vector<uint64_t> taken;
  };

  void awaitNotice(size_t peer);
  Status takeNotice(size_t peer, bool* moved);
  bool isInWindow(const uint8_t* begin, uint64_t bytes) const;
  MessageKey key(size_t from, size_t to, uint64_t number, uint32_t tag) const;

  const uint64_t comm_;
  const size_t rank_;
  const std::vector<MessagePeer>& peers_;
  std::vector<std::unique_ptr<From>> from_;  // null: this rank, or out of this lane's reach
  std::vector<uint64_t> sent_;               // notices, by peer
  std::vector<Window> windows_;
};

}  // namespace flexlink
