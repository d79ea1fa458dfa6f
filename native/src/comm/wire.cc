// SPDX-License-Identifier: Apache-2.0
#include "comm/wire.h"

#include <unistd.h>

#include "comm/frame.h"
#include "flexlink/flexlink.h"

namespace flexlink::wire {
namespace {

enum class Kind : uint8_t { kBlobs, kFailure };

std::string hostName() {
  char name[64] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace

std::string packHello(const Meeting& meeting, const std::string& blob) {
  Packer packer;
  packer.put(kProtocolVersion).put(meeting.cookie).put(hostName()).put(int32_t{getpid()});
  packer.put(std::string(flexlinkGetVersion()));
  packer.put(meeting.key).put(meeting.size).put(meeting.index).put(blob);
  return packer.bytes();
}

bool unpackHello(const std::string& bytes, Hello* hello) {
  Unpacker unpacker(bytes);
  bool known = unpacker.get(&hello->protocolVersion) && unpacker.get(&hello->cookie) &&
               unpacker.get(&hello->host) && unpacker.get(&hello->pid) &&
               unpacker.get(&hello->version);
  if (!known || hello->protocolVersion != kProtocolVersion) return known;
  return unpacker.get(&hello->key) && unpacker.get(&hello->size) && unpacker.get(&hello->index) &&
         unpacker.get(&hello->blob) && hello->size > 0 && hello->size <= kMaxRanks &&
         hello->index < hello->size;
}

std::string packRound(const std::vector<std::string>& blobs) {
  Packer packer;
  packer.put(Kind::kBlobs).put(static_cast<uint32_t>(blobs.size()));
  for (const std::string& blob : blobs) packer.put(blob);
  return packer.bytes();
}

std::string packFailure(const Status& status) {
  Packer packer;
  packer.put(Kind::kFailure).put(status.code()).put(std::string(status.text()));
  return packer.bytes();
}

Result<std::vector<std::string>> unpackRound(const std::string& bytes) {
  Unpacker unpacker(bytes);
  Kind kind{};
  if (unpacker.get(&kind) && kind == Kind::kFailure) {
    Code code{};
    std::string text;
    bool whole = unpacker.get(&code) && unpacker.get(&text);
    if (whole && code > Code::kOk && code <= Code::kTimeout) return Status(code, text);
  } else if (kind == Kind::kBlobs) {
    uint32_t count = 0;
    bool whole = unpacker.get(&count) && count <= kMaxRanks;
    std::vector<std::string> blobs(whole ? count : 0);
    for (std::string& blob : blobs) whole = whole && unpacker.get(&blob);
    if (whole) return blobs;
  }
  return makeStatus(Code::kRemote, "a round of the meeting cannot be read (%zu bytes)",
                    bytes.size());
}

}  // namespace flexlink::wire
