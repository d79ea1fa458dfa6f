// SPDX-License-Identifier: Apache-2.0
// Length-prefixed messages on a non-blocking stream socket, with the length bounded before use.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "base/socket.h"
#include "base/status.h"

namespace flexlink {

// Collects one stream's bytes into messages and sends queued ones. Control thread only.
class FrameStream {
 public:
  static constexpr uint32_t kMagic = 0x4b4c5846;  // "FXLK"

  explicit FrameStream(Fd fd, uint32_t maxBytes) : fd_(std::move(fd)), maxBytes_(maxBytes) {}

  int fd() const { return fd_.get(); }
  void setMaxBytes(uint32_t bytes) { maxBytes_ = bytes; }

  void queue(const std::string& message);
  bool wantsToSend() const { return !out_.empty(); }

  // Sends what the socket takes now.
  Status flush();

  // Appends whole messages to *messages. kRemote: the other side has closed, or sent no frame.
  Status receive(std::vector<std::string>* messages);

 private:
  Fd fd_;
  uint32_t maxBytes_;
  std::string in_;
  std::string out_;
};

// Plain values in a message, in host order (peers are little-endian: checked by the magic).
class Packer {
 public:
  template <typename T>
  Packer& put(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Packer& put(const std::string& text) {
    put(static_cast<uint32_t>(text.size()));
    bytes_ += text;
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// The reverse; every get() fails for good once the bytes have run out.
class Unpacker {
 public:
  explicit Unpacker(const std::string& bytes) : bytes_(bytes) {}

  template <typename T>
  bool get(T* value) {
    if (bytes_.size() - at_ < sizeof *value) return fail();
    bytes_.copy(reinterpret_cast<char*>(value), sizeof *value, at_);
    at_ += sizeof *value;
    return true;
  }
  bool get(std::string* text) {
    uint32_t size = 0;
    if (!get(&size) || bytes_.size() - at_ < size) return fail();
    *text = bytes_.substr(at_, size);
    at_ += size;
    return true;
  }

 private:
  bool fail() {
    at_ = bytes_.size();
    return false;
  }
  const std::string& bytes_;
  size_t at_ = 0;
};

}  // namespace flexlink
