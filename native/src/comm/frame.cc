// SPDX-License-Identifier: Apache-2.0
#include "comm/frame.h"

#include <string.h>

namespace flexlink {
namespace {

struct Prefix {
  uint32_t magic;
  uint32_t bytes;
};

}  // namespace

void FrameStream::queue(const std::string& message) {
  Prefix prefix{kMagic, static_cast<uint32_t>(message.size())};
  out_.append(reinterpret_cast<const char*>(&prefix), sizeof prefix);
  out_ += message;
}

Status FrameStream::flush() {
  while (!out_.empty()) {
    Result<size_t> sent = sendSome(fd_.get(), out_.data(), out_.size());
    if (!sent.ok()) {
      return sent.status().code() == Code::kInProgress ? Status() : sent.status();
    }
    out_.erase(0, sent.value());
  }
  return {};
}

Status FrameStream::receive(std::vector<std::string>* messages) {
  char buffer[65536];
  bool closed = false;
  for (;;) {
    Result<size_t> got = recvSome(fd_.get(), buffer, sizeof buffer);
    if (!got.ok()) {
      if (got.status().code() == Code::kInProgress) break;
      return got.status();
    }
    if (got.value() == 0) {
      closed = true;
      break;
    }
    in_.append(buffer, got.value());
    if (in_.size() > sizeof(Prefix) + maxBytes_) break;
  }
  while (in_.size() >= sizeof(Prefix)) {
    Prefix prefix;
    memcpy(&prefix, in_.data(), sizeof prefix);
    if (prefix.magic != kMagic || prefix.bytes > maxBytes_) {
      return makeStatus(Code::kRemote, "the other side does not speak FlexLink's protocol");
    }
    if (in_.size() - sizeof prefix < prefix.bytes) break;
    messages->push_back(in_.substr(sizeof prefix, prefix.bytes));
    in_.erase(0, sizeof prefix + prefix.bytes);
  }
  if (closed) return makeStatus(Code::kRemote, "the other side has closed the connection");
  return {};
}

}  // namespace flexlink
