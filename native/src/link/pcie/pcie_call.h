// SPDX-License-Identifier: Apache-2.0
// What two processes of one host say before frames may go through memory that they share: one comes
// with the memory, both show that their copies arrive in it, and the one that came says when the
// link is to be used.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device/host/exchange.h"
#include "link/link.h"
#include "link/pcie/pcie_segment.h"

namespace flexlink {

// One side of it, on the control thread. Never waits for the peer.
class PcieCall {
 public:
  // Goes to the process `peer`, which knows the cookie, with fresh memory.
  static Result<std::unique_ptr<PcieCall>> dial(const ProcessId& self, const ProcessId& peer,
                                                const Cookie& theirs, size_t ringBytes);

  // Whoever has come.
  static Result<std::unique_ptr<PcieCall>> answer(const ProcessId& self, ExchangeVisit visit);

  // Whenever fd() is readable. ok: the dialer may sayGo(), the callee has heard it; kInProgress;
  // else why this link is of no use.
  Status step();
  int fd() const { return socket_.get(); }

  // Dialer, after ok: to be used, as one of so many links that are made at once.
  bool sayGo(uint32_t links);

  // Callee, after ok: what the dialer has said.
  uint32_t links() const { return links_; }

  // The last call.
  std::unique_ptr<Link> take(std::string name, LinkEvents events);

 private:
  PcieCall(const ProcessId& self, const ProcessId& peer, std::unique_ptr<PcieChannel> channel)
      : self_(self), peer_(peer), channel_(std::move(channel)) {}

  Status writeTest();
  Status checkTest();
  bool say(uint32_t word, uint32_t links);

  const ProcessId self_;
  const ProcessId peer_;
  std::unique_ptr<PcieChannel> channel_;
  Fd socket_;
  uint32_t links_ = 0;
};

}  // namespace flexlink
