// SPDX-License-Identifier: Apache-2.0
// What is said between a participant and the door, as bytes. Pure.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "comm/rendezvous.h"

namespace flexlink::wire {

// Grows with every change of what ranks say to each other. The first fields of a hello stay as they
// are for ever, so that unlike versions understand that they are unlike.
inline constexpr uint32_t kProtocolVersion = 1;
inline constexpr uint32_t kMaxHelloBytes = 64 << 10;
inline constexpr uint32_t kMaxTableBytes = 64 << 20;
inline constexpr uint32_t kMaxRanks = 1 << 20;

struct Hello {
  uint32_t protocolVersion = 0;
  Cookie cookie{};
  std::string host;
  int32_t pid = 0;
  std::string version;  // of the library, for people
  uint64_t key = 0;
  uint32_t size = 0;
  uint32_t index = 0;
  std::string blob;
};

std::string packHello(const Meeting& meeting, const std::string& blob);
// False: not a hello. With an unlike protocolVersion only the fields up to `version` are filled.
bool unpackHello(const std::string& bytes, Hello* hello);

std::string packRound(const std::vector<std::string>& blobs);
std::string packFailure(const Status& status);
// The blobs, or the Status that the door sent instead.
Result<std::vector<std::string>> unpackRound(const std::string& bytes);

}  // namespace flexlink::wire
