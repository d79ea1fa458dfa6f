// SPDX-License-Identifier: Apache-2.0
// What every rank says of itself when a communicator is made; travels as bytes.
#pragma once

#include <string>
#include <vector>

#include "base/socket.h"
#include "comm/vendor_entry.h"
#include "device/cuda/cuda_device.h"
#include "device/host/exchange.h"

namespace flexlink {

struct RankCard {
  ProcessCard process;
  uint8_t door[SocketAddress::kBytes];
  uint32_t segmentRegion;
  int32_t device;        // as ncclCommCuDevice answers
  uint8_t onHost;        // 1: host memory; 0: cuda
  uint8_t direct;        // FLEXLINK_DIRECT
  uint8_t cma;           // FLEXLINK_CMA
  int64_t eagerBytes;    // FLEXLINK_EAGER_BYTES
  int64_t chunkBytes;    // FLEXLINK_CHUNK_BYTES
  uint8_t byDevice;      // FLEXLINK_COPIES, or on a GPU
  uint8_t cpus[128];     // affinity mask
  MemoryHandle staging;  // on its GPU
  uint64_t stagingMark;  // what is at its start
  uint8_t hasStaging;
  VendorCard vendor;
};

// This process's, by its settings; without a segment and a vendor. gpu: null on host memory.
Result<RankCard> myRankCard(int device, const CudaDevice* gpu);

// Do ranks with these cards fit together? All of them come to the same end.
Status checkCards(const std::vector<RankCard>& cards);

// On how many cores these ranks of one host may run together.
int coresOf(const std::vector<RankCard>& cards, const std::vector<int>& ranks);

std::string processName(const ProcessCard& card);      // "pid 77 on host b"
std::string rankName(int rank, const RankCard& card);  // "rank 3 (pid 77 on host b)"

}  // namespace flexlink
