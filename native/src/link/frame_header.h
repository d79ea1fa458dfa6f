// SPDX-License-Identifier: Apache-2.0
// The wire, version 1: what stands before the bytes of every frame between two rank contexts.
// Little-endian on both sides (checked when they connect). Layout only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flexlink {

inline constexpr uint32_t kFrameMagic = 0x57584c46;  // "FLXW"
inline constexpr uint8_t kWireVersion = 1;
inline constexpr uint32_t kMaxFrameBytes = 4 << 20;  // payload of one frame
inline constexpr size_t kEagerMessageBytes = 8192;   // sent without a credit up to this size

enum class FrameKind : uint8_t {
  kEager = 1,   // a whole small message
  kCredit = 2,  // the receiver of a large message is ready for it
  kChunk = 3,   // a part of a large message
  kAck = 4,     // `offset` frames of this link have arrived; not acknowledged itself
  kNudge = 5,   // asks for no more than to be acknowledged
  kLeft = 6,    // the sender has left the link with number `offset`, made in round `seq`
};

struct FrameHeader {
  uint32_t magic = kFrameMagic;
  uint8_t version = kWireVersion;
  FrameKind kind = FrameKind::kEager;
  uint16_t replay = 0;     // 1: sent before over a link that was left
  uint64_t comm = 0;       // which communicator; equal on all ranks
  uint64_t seq = 0;        // which call of it
  uint64_t signature = 0;  // of the call, as the sender made it
  uint64_t count = 0;      // likewise
  uint64_t offset = 0;     // kChunk: of its first byte in the message; kAck: see there
  uint32_t length = 0;     // bytes that follow
  uint32_t chunk = 0;  // kChunk: number within the message; else a number of the sender's bundle
  uint32_t tag = 0;    // which message of the call
  uint16_t from = 0;   // ranks in the communicator
  uint16_t to = 0;
};
static_assert(sizeof(FrameHeader) == 64);
static_assert(offsetof(FrameHeader, comm) == 8 && offsetof(FrameHeader, offset) == 40 &&
              offsetof(FrameHeader, length) == 48 && offsetof(FrameHeader, to) == 62);

// What a header may look like that a peer has sent, before anything in it is used.
inline bool isSane(const FrameHeader& header) {
  return header.magic == kFrameMagic && header.version == kWireVersion &&
         header.kind >= FrameKind::kEager && header.kind <= FrameKind::kLeft &&
         header.length <= kMaxFrameBytes;
}

}  // namespace flexlink
