// SPDX-License-Identifier: Apache-2.0
// Making a communicator: the rounds of a meeting on the control thread, from "I am rank r" to a
// mapped, verified lane. Callers wait for it or poll; nothing here blocks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/rendezvous.h"

struct ncclComm;

namespace flexlink {

struct CreationPlan {
  Meeting meeting;     // size and index: of the meeting, which for a split are the parent's
  bool split = false;  // the first round tells colours and keys
  int color = -1;      // -1: in no group; the creation ends with an empty shell
  int key = 0;
  uint64_t parentHash = 0;
  std::vector<Attendant> attendants;  // known from the parent; empty for a world
  CommConfig config;
  int device = 0;                        // as ncclCommCuDevice answers
  std::shared_ptr<CudaDevice> gpu;       // null: on host memory
  std::shared_ptr<StagingPool> staging;  // allocateStaging()
};

// Staging of one rank; with the rest of a segment below 8 MiB.
inline constexpr size_t kPoolBytes = 4 << 20;

// Starts it; the shell becomes kReady, kFailed or (no colour) kGone. Any thread.
Status startCreation(ncclComm* shell, CreationPlan plan);

// Waits until the shell is no longer kConnecting; returns how it ended.
Status awaitCreation(ncclComm* shell);

}  // namespace flexlink
