// SPDX-License-Identifier: Apache-2.0
// One physical way to move bytes to one peer rank context. It knows frames, no collective and no
// other link. Driven by polling under the lock of its bundle; never blocks.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "base/status.h"
#include "link/frame_header.h"
#include "link/silence.h"

namespace flexlink {

// What a link tells its owner in the course of poll(), in the order in which the peer has sent.
struct LinkEvents {
  // Where the bytes behind this header go; null: nowhere, they are read and dropped.
  std::function<uint8_t*(const FrameHeader&)> place;
  // The frame is there as a whole.
  std::function<void(const FrameHeader&)> arrived;
};

class Link {
 public:
  virtual ~Link() = default;

  virtual const std::string& name() const = 0;  // "tcp:eth0"

  // Appends a frame. The payload stays where it is until the peer has acknowledged the frame, or
  // until keepOwnCopy() or quiesce() has returned.
  virtual void post(const FrameHeader& header, const void* payload) = 0;

  // Moves what can be moved now. ok: something moved; kInProgress: nothing; else the link is
  // broken.
  virtual Status poll() = 0;

  // Has the kernel or the NIC taken all that was posted?
  virtual bool flushed() const = 0;

  // Has the machine of the peer taken all that was posted? From then on this process may end.
  virtual bool delivered() const = 0;

  // Nothing more lands in, and nothing is read from, these bytes: a frame on its way in is dropped,
  // one on its way out goes on from a copy.
  virtual void keepOff(const void* begin, size_t bytes) = 0;

  // The end: after it no byte of this link lands anywhere and no posted memory is read.
  virtual void quiesce() = 0;

  // Becomes readable when poll() may find something; -1 after quiesce().
  virtual int fd() const = 0;

  // What is known of the other end without its process.
  virtual LinkPulse pulse() const = 0;
};

}  // namespace flexlink
