// SPDX-License-Identifier: Apache-2.0
// What callers tell the probe, as plain values. How it is written is probe_writer.h's business.
#pragma once

#include <cstdint>

#include "flexlink/probe.h"

namespace flexlink {

enum class ProbePhase : uint8_t {
  kIdle = FLEXLINK_PROBE_PHASE_IDLE,
  kStarted = FLEXLINK_PROBE_PHASE_STARTED,
  kMeeting = FLEXLINK_PROBE_PHASE_MEETING,
  kMoving = FLEXLINK_PROBE_PHASE_MOVING,
  kLeaving = FLEXLINK_PROBE_PHASE_LEAVING,
};

enum class ProbeState : uint8_t {
  kConnecting = FLEXLINK_PROBE_STATE_CONNECTING,
  kReady = FLEXLINK_PROBE_STATE_READY,
  kFinalizing = FLEXLINK_PROBE_STATE_FINALIZING,
  kFailed = FLEXLINK_PROBE_STATE_FAILED,
  kAborted = FLEXLINK_PROBE_STATE_ABORTED,
  kClosed = FLEXLINK_PROBE_STATE_CLOSED,
};

struct ProbeSignature {
  uint8_t collective = 0;  // Collective of base/types.h
  uint8_t type = 0;        // DataType
  uint8_t op = 0;          // ReduceOp
  int32_t root = -1;       // of send and receive: the peer
  uint64_t count = 0;      // elements, as in the call
  uint64_t bytes = 0;      // what progress() will have reached at the end
};

struct ProbeCommInfo {
  uint64_t id = 0;      // equal on all ranks, e.g. a hash of the unique id
  uint64_t parent = 0;  // id of the communicator that this one was split from
  uint32_t rank = 0;
  uint32_t ranks = 0;
  uint32_t host = 0;
  uint32_t hosts = 1;
  const char* name = "";  // copied; cut at FLEXLINK_PROBE_NAME_BYTES
};

enum class ProbeLinkState : uint8_t {
  kNever = FLEXLINK_PROBE_LINK_NEVER,
  kUsed = FLEXLINK_PROBE_LINK_USED,
  kLeft = FLEXLINK_PROBE_LINK_LEFT,
};

// One link to one peer. Text is copied, cut at FLEXLINK_PROBE_LINK_*_BYTES.
struct ProbeLinkInfo {
  const char* name = "";  // "tcp:eth0"
  const char* host = "";  // the peer's
  const char* why = "";   // one phrase: why it is never used, why it was left
  uint32_t peer = FLEXLINK_PROBE_NO_RANK;
  uint32_t peerHost = 0;  // number of its host in the communicator
  ProbeLinkState state = ProbeLinkState::kUsed;
  uint64_t bytesOut = 0;
  uint64_t bytesIn = 0;
  uint64_t replays = 0;
  uint64_t bytesPerSecond = 0;
  uint64_t latencyNanos = 0;
};

}  // namespace flexlink
