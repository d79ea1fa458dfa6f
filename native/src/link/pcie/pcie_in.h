// SPDX-License-Identifier: Apache-2.0
// The receiving half of a pcie link: headers by the CPU, payload by a stream of the device.
#pragma once

#include <deque>

#include "base/status.h"
#include "link/link.h"
#include "link/pcie/pcie_segment.h"

namespace flexlink {

class PcieIn {
 public:
  PcieIn(const PcieChannel& channel, LinkEvents events);

  // Moves what can be moved now, and tells of frames that are there.
  Status move(bool* moved);

  // Is a copy enqueued that nobody but the device will finish?
  bool flying() const;

  // Nothing more lands in these bytes.
  Status keepOff(const void* begin, size_t bytes);

 private:
  struct Frame {
    FrameHeader header;
    uint8_t* target;    // null: the payload is dropped
    size_t copied = 0;  // bytes of it for which a copy is enqueued
    uint64_t end = 0;   // once that is all: where `empty` is when it is there
  };

  Status takeHeaders(bool* moved);
  Status copySome(bool* moved);
  Status copyPiece(Frame* frame, const PciePiece& piece);
  void land(bool* moved);

  const PcieChannel& channel_;
  const LinkEvents events_;
  PcieDirection& counters_;
  const FrameHeader* const headers_;
  std::deque<Frame> frames_;  // not yet there as a whole
  size_t whole_ = 0;          // of these, from the front: enqueued as a whole
  uint64_t taken_ = 0;
  uint64_t at_ = 0;  // where the next piece comes from
};

}  // namespace flexlink
