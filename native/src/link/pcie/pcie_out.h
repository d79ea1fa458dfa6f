// SPDX-License-Identifier: Apache-2.0
// The sending half of a pcie link: headers by the CPU, payload by a stream of the device.
#pragma once

#include <deque>
#include <vector>

#include "base/status.h"
#include "link/pcie/pcie_segment.h"

namespace flexlink {

class PcieOut {
 public:
  explicit PcieOut(const PcieChannel& channel);

  void post(const FrameHeader& header, const void* payload);

  // Moves what can be moved now.
  Status move(bool* moved);

  // Is everything that was posted where the peer finds it?
  bool flushed() const { return frames_.empty() && flying_.empty(); }

  // Is a copy enqueued that nobody but the device will finish?
  bool flying() const { return !flying_.empty(); }

  // These bytes are not read any more; what is still to be sent of them goes on from a copy.
  Status keepOff(const void* begin, size_t bytes);

 private:
  struct Frame {
    FrameHeader header;
    const uint8_t* payload;
    std::vector<uint8_t> own;  // payload, once it was copied
    bool announced = false;    // the header is in its ring
    size_t copied = 0;         // bytes of the payload for which a copy is enqueued
  };
  // Until `full` has come to its end the memory is read.
  struct Flight {
    uint64_t end;
    const uint8_t* begin;
    size_t bytes;
    std::vector<uint8_t> own;
  };

  bool announce(Frame* frame);
  Status copyFrames(bool* moved);
  Status copySome(Frame* frame, size_t* budget, bool* moved);
  void land(bool* moved);

  const PcieChannel& channel_;
  PcieDirection& counters_;
  FrameHeader* const headers_;
  std::deque<Frame> frames_;  // not yet enqueued as a whole
  std::deque<Flight> flying_;
  uint64_t posted_ = 0;
  uint64_t at_ = 0;  // where the next piece goes
};

}  // namespace flexlink
