// SPDX-License-Identifier: Apache-2.0
// Staging memory on GPUs: this rank's own, and its peers' where this rank's GPU reaches them, by
// CUDA IPC or, in one process, as it is. Control thread only.
#pragma once

#include <memory>
#include <vector>

#include "device/cuda/cuda_device.h"
#include "device/host/exchange.h"
#include "lane/memory/memory_lane.h"

namespace flexlink {

struct RankCard;

class StagingPool {
 public:
  // Marked with `mark`, by which peers know that they have reached the right memory.
  static Result<std::unique_ptr<StagingPool>> make(std::shared_ptr<CudaDevice> gpu, size_t bytes,
                                                   uint64_t mark);
  StagingPool(const StagingPool&) = delete;
  StagingPool& operator=(const StagingPool&) = delete;

  // Nothing that this rank has enqueued reads or writes a pool any more; then it may say so. Peers
  // may still read this one: it is kept until each of them has let go of it, or is dead.
  ~StagingPool();

  const MemoryHandle& handle() const { return handle_; }

  // Sets staging of the peer that said `card`, and tries it: the bytes that it has marked are read.
  Status reach(const RankCard& card, uint64_t mark, MemoryPeer* peer);

  // Who may have reached this one. Each says in its segment when that is over (`apart`).
  void shareWith(std::vector<MemoryPeer> peers) {
    shared_ = true;
    peers_ = std::move(peers);
  }

 private:
  explicit StagingPool(std::shared_ptr<CudaDevice> gpu) : gpu_(std::move(gpu)) {}
  Status copyNow(void* to, const void* from, size_t bytes);

  const std::shared_ptr<CudaDevice> gpu_;
  void* memory_ = nullptr;
  MemoryHandle handle_{};
  std::vector<void*> opened_;
  bool shared_ = false;  // false at the end: a creation that failed, and nobody knows who has come
  std::vector<MemoryPeer> peers_;
};

}  // namespace flexlink
