// SPDX-License-Identifier: Apache-2.0
// Staging memory on GPUs: this rank's own, and its peers' where this rank's GPU reaches them, by
// CUDA IPC or, in one process, as it is. One thread at a time.
#pragma once

#include <memory>
#include <vector>

#include "device/cuda/cuda_device.h"
#include "device/host/exchange.h"
#include "device/opened_memory.h"
#include "lane/memory/memory_lane.h"

namespace flexlink {

struct RankCard;

class StagingPool {
 public:
  // Marked, so that peers know that they have reached the right memory.
  static Result<std::shared_ptr<StagingPool>> make(std::shared_ptr<CudaDevice> gpu, size_t bytes);
  StagingPool(const StagingPool&) = delete;
  StagingPool& operator=(const StagingPool&) = delete;

  // Nothing that this rank has enqueued reads or writes a pool any more; then it may say so. Peers
  // may still read this one: it is kept until each of them has let go of it, or is dead.
  ~StagingPool();

  // Says in this rank's card where it is.
  void announce(RankCard* card) const;

  // The memory of the rank that said `card`; its mark is read. `here`: a thread of this process.
  Result<uint8_t*> reach(const RankCard& card, bool here);

  // Who may have reached this one. Each says in its segment when that is over (`apart`).
  void shareWith(std::vector<MemoryPeer> peers) {
    shared_ = true;
    peers_ = std::move(peers);
  }

 private:
  explicit StagingPool(std::shared_ptr<CudaDevice> gpu)
      : gpu_(std::move(gpu)), opened_(std::make_unique<OpenedMemory>(gpu_)) {}
  Status copyNow(void* to, const void* from, size_t bytes);

  const std::shared_ptr<CudaDevice> gpu_;
  void* memory_ = nullptr;
  MemoryHandle handle_{};
  uint64_t mark_ = 0;
  std::unique_ptr<OpenedMemory> opened_;
  bool shared_ = false;  // false at the end: a creation that failed, and nobody knows who has come
  std::vector<MemoryPeer> peers_;
};

}  // namespace flexlink
