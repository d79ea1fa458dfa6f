// SPDX-License-Identifier: Apache-2.0
// A link over one TCP connection.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "link/link.h"

namespace flexlink {

// Of a connected socket.
LinkPulse pulseOf(int fd);

class TcpLink final : public Link {
 public:
  // `fd`: connected, non-blocking; who is behind it has been made sure of.
  TcpLink(std::string name, Fd fd, LinkEvents events);

  const std::string& name() const override { return name_; }
  void post(const FrameHeader& header, const void* payload) override;
  Status poll() override;
  bool flushed() const override { return out_.empty(); }
  bool delivered() const override;
  void keepOff(const void* begin, size_t bytes) override;
  void quiesce() override;
  int fd() const override { return fd_.get(); }
  LinkPulse pulse() const override { return pulseOf(fd_.get()); }

 private:
  struct Outgoing {
    FrameHeader header;
    const uint8_t* payload;
    std::vector<uint8_t> own;  // payload, once it was copied
  };

  Status flush(bool* moved);
  Status receive(bool* moved);
  Status take(const uint8_t* bytes, size_t count);
  Status beginFrame();
  void endFrame();
  Status broken(const char* what, int error) const;

  const std::string name_;
  Fd fd_;
  LinkEvents events_;

  std::deque<Outgoing> out_;
  size_t sent_ = 0;  // bytes of the first of out_ that the kernel has taken, header included

  FrameHeader in_;
  size_t headerBytes_ = 0;   // of in_ that have arrived
  size_t payloadBytes_ = 0;  // of its payload
  uint8_t* target_ = nullptr;
  std::unique_ptr<uint8_t[]> inbox_;  // small frames, and what is dropped
};

}  // namespace flexlink
