// SPDX-License-Identifier: Apache-2.0
// A link to a peer of this host through pinned host memory: each side's copy engine moves its own
// bytes, GPU to memory or memory to GPU. On host memory the CPU that polls is the copy engine.
#pragma once

#include <memory>
#include <string>

#include "base/fd.h"
#include "link/link.h"
#include "link/pcie/pcie_in.h"
#include "link/pcie/pcie_out.h"
#include "link/pcie/pcie_segment.h"

namespace flexlink {

class PcieLink final : public Link {
 public:
  // `lifeline`: a connected socket to the peer's end, non-blocking: it ends with the peer, and
  // wakes.
  PcieLink(std::string name, std::unique_ptr<PcieChannel> channel, Fd lifeline, LinkEvents events);
  ~PcieLink() override;

  const std::string& name() const override { return name_; }
  void post(const FrameHeader& header, const void* payload) override;
  Status poll() override;
  bool flushed() const override { return channel_ == nullptr || out_.flushed(); }
  // The memory is the peer's as well: it stays when this process ends.
  bool delivered() const override { return flushed(); }
  void keepOff(const void* begin, size_t bytes) override;
  void quiesce() override;
  int fd() const override { return bell_.get(); }
  // The host of the peer is this one.
  LinkPulse pulse() const override { return {}; }

 private:
  Status move(bool* moved);
  bool peerHasEnded();
  void tellPeer();
  Status broken(const Status& why) const;
  PcieSide& side(int which) const { return channel_->segment().head().sides[which]; }

  const std::string name_;
  std::unique_ptr<PcieChannel> channel_;  // null after quiesce()
  Fd lifeline_;
  // An epoll set with the lifeline: readable with it, but never writable, for there is nothing to
  // be sent over it.
  Fd bell_;
  PcieOut out_;
  PcieIn in_;
  Status failure_;         // of keepOff(): for the next poll()
  bool ended_ = false;     // the lifeline has
  int64_t lookedAt_ = 0;   // ns: at the lifeline
  uint64_t told_[4] = {};  // our counters when the peer was woken last, or need not be
};

}  // namespace flexlink
