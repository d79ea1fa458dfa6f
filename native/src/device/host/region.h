// SPDX-License-Identifier: Apache-2.0
// Memory of this process that other processes can map: memfd segments. Nothing has a name in the
// file system, so nothing is left behind by a killed process. Communicator segments and
// ncclMemAlloc buffers are regions; who may map one is decided in exchange.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <shared_mutex>

#include "base/fd.h"
#include "base/status.h"

namespace flexlink {

// Where an address lies, in words that another process understands. id 0: in no region.
struct RegionRef {
  uint32_t id = 0;
  uint64_t offset = 0;  // bytes from the region's start
};

enum class RegionUse {
  kSegment,  // our own: not inherited by a forked child
  kUser,     // ncclMemAlloc: a forked child keeps its view, as with any shared memory
};

// All regions of this process. Any thread.
class RegionTable {
 public:
  static RegionTable& instance();

  // Zeroed, page-aligned memory of at least `bytes`.
  Result<void*> create(size_t bytes, RegionUse use);

  // Unmaps the region that starts at base. Peers that still map it keep the memory, not we.
  Status destroy(void* base);

  // The region that holds [address, address + bytes) whole, or id 0.
  RegionRef find(const void* address, size_t bytes) const;

  // A descriptor to hand to another process, and the region's size.
  Result<std::pair<Fd, size_t>> share(uint32_t id) const;

  // Moves the content of the region that holds `address` to fresh memory at the same address and
  // under a new id: stores of a process that mapped the old memory no longer arrive here.
  Status rehome(const void* address);

  size_t totalBytes() const;

 private:
  struct Region {
    uint32_t id;
    size_t bytes;
    RegionUse use;
    Fd fd;
  };
  std::map<uintptr_t, Region>::const_iterator holder(const void* address, size_t bytes) const;

  mutable std::shared_mutex mutex_;       // guards all below; a leaf lock
  std::map<uintptr_t, Region> regions_;   // by start address
  std::map<uint32_t, uintptr_t> starts_;  // by id
  uint32_t nextId_ = 1;
};

// Pages of this memory that are not there yet come from that NUMA node where it has some left; -1:
// from where they come anyway.
void preferNode(void* begin, size_t bytes, int node);

// A region of another process in our address space, until the last holder lets go.
class ForeignRegion {
 public:
  // From the descriptor that the owner sent; its real size and its seals are checked.
  static Result<std::shared_ptr<ForeignRegion>> map(int fd, size_t bytes);

  ~ForeignRegion();
  void* base() const { return base_; }
  size_t bytes() const { return bytes_; }

 private:
  ForeignRegion(void* base, size_t bytes) : base_(base), bytes_(bytes) {}
  void* const base_;
  const size_t bytes_;
};

}  // namespace flexlink
