// SPDX-License-Identifier: Apache-2.0
#include "device/host/region.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mutex>

namespace flexlink {
namespace {

size_t pageRound(size_t bytes) {
  size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (bytes == 0) bytes = 1;
  return (bytes + page - 1) / page * page;
}

// The size is sealed: a peer cannot shrink the file and so make us fault on a page that is gone.
Result<Fd> makeSealedFile(size_t bytes) {
  Fd fd(memfd_create("flexlink", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (fd.get() < 0) return makeStatus(Code::kSystem, "memfd_create: %s", strerror(errno));
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return makeStatus(Code::kSystem, "cannot size shared memory to %zu bytes: %s", bytes,
                      strerror(errno));
  }
  fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return fd;
}

Result<void*> mapShared(void* at, int fd, size_t bytes) {
  void* base = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | (at ? MAP_FIXED : 0), fd, 0);
  if (base == MAP_FAILED) {
    return makeStatus(Code::kSystem, "cannot map %zu bytes of shared memory: %s", bytes,
                      strerror(errno));
  }
  return base;
}

void advise(void* base, size_t bytes, RegionUse use) {
  if (use == RegionUse::kSegment) madvise(base, bytes, MADV_DONTFORK);
  if (bytes >= (size_t{2} << 20)) madvise(base, bytes, MADV_HUGEPAGE);  // where shmem allows it
}

}  // namespace

RegionTable& RegionTable::instance() {
  static RegionTable* table = new RegionTable;  // outlives every thread that may still use it
  return *table;
}

Result<void*> RegionTable::create(size_t bytes, RegionUse use) {
  bytes = pageRound(bytes);
  FLEXLINK_TRY_ASSIGN(Fd fd, makeSealedFile(bytes));
  FLEXLINK_TRY_ASSIGN(void* base, mapShared(nullptr, fd.get(), bytes));
  advise(base, bytes, use);
  std::unique_lock lock(mutex_);
  uint32_t id = nextId_++;
  starts_[id] = reinterpret_cast<uintptr_t>(base);
  regions_[reinterpret_cast<uintptr_t>(base)] = Region{id, bytes, use, std::move(fd)};
  return base;
}

Status RegionTable::destroy(void* base) {
  std::unique_lock lock(mutex_);
  auto found = regions_.find(reinterpret_cast<uintptr_t>(base));
  if (found == regions_.end()) {
    return makeStatus(Code::kInvalidArgument, "%p is not the start of memory from ncclMemAlloc",
                      base);
  }
  munmap(base, found->second.bytes);
  starts_.erase(found->second.id);
  regions_.erase(found);
  return {};
}

std::map<uintptr_t, RegionTable::Region>::const_iterator RegionTable::holder(const void* address,
                                                                             size_t bytes) const {
  auto start = reinterpret_cast<uintptr_t>(address);
  auto next = regions_.upper_bound(start);
  if (next == regions_.begin()) return regions_.end();
  --next;
  uintptr_t offset = start - next->first;
  bool inside = offset < next->second.bytes && bytes <= next->second.bytes - offset;
  return inside ? next : regions_.end();
}

RegionRef RegionTable::find(const void* address, size_t bytes) const {
  std::shared_lock lock(mutex_);
  auto found = holder(address, bytes);
  if (found == regions_.end()) return {};
  return {found->second.id, reinterpret_cast<uintptr_t>(address) - found->first};
}

Result<std::pair<Fd, size_t>> RegionTable::share(uint32_t id) const {
  std::shared_lock lock(mutex_);
  auto start = starts_.find(id);
  if (start == starts_.end()) {
    return makeStatus(Code::kInvalidArgument, "region %u is not or no longer exported", id);
  }
  const Region& region = regions_.at(start->second);
  Fd copy(fcntl(region.fd.get(), F_DUPFD_CLOEXEC, 0));
  if (copy.get() < 0) return makeStatus(Code::kSystem, "dup: %s", strerror(errno));
  return std::pair<Fd, size_t>{std::move(copy), region.bytes};
}

Status RegionTable::rehome(const void* address) {
  std::unique_lock lock(mutex_);
  auto found = holder(address, 0);
  if (found == regions_.end()) return {};
  Region& region = regions_.at(found->first);
  void* base = reinterpret_cast<void*>(found->first);
  FLEXLINK_TRY_ASSIGN(Fd fresh, makeSealedFile(region.bytes));
  FLEXLINK_TRY_ASSIGN(void* copy, mapShared(nullptr, fresh.get(), region.bytes));
  memcpy(copy, base, region.bytes);
  munmap(copy, region.bytes);
  FLEXLINK_TRY_ASSIGN(void* same, mapShared(base, fresh.get(), region.bytes));
  advise(same, region.bytes, region.use);
  starts_.erase(region.id);
  region.id = nextId_++;
  region.fd = std::move(fresh);
  starts_[region.id] = found->first;
  return {};
}

size_t RegionTable::totalBytes() const {
  std::shared_lock lock(mutex_);
  size_t total = 0;
  for (const auto& [start, region] : regions_) total += region.bytes;
  return total;
}

void preferNode(void* begin, size_t bytes, int node) {
  constexpr int kPreferred = 1;  // MPOL_PREFERRED of numaif.h, which is not everywhere
  constexpr int kMostNodes = 1024;
  constexpr int kWord = 8 * sizeof(unsigned long);
  if (node < 0 || node >= kMostNodes) return;
  unsigned long nodes[kMostNodes / kWord] = {};
  nodes[node / kWord] = 1UL << (node % kWord);
  (void)syscall(SYS_mbind, begin, bytes, kPreferred, nodes, kMostNodes, 0);  // a wish
}

Result<std::shared_ptr<ForeignRegion>> ForeignRegion::map(int fd, size_t bytes) {
  struct stat info {};
  if (fstat(fd, &info) != 0 || static_cast<size_t>(info.st_size) < bytes || bytes == 0) {
    return makeStatus(Code::kSystem, "a peer sent shared memory of %lld bytes where it said %zu",
                      static_cast<long long>(info.st_size), bytes);
  }
  int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return makeStatus(Code::kSystem, "a peer sent shared memory that it could take away again");
  }
  FLEXLINK_TRY_ASSIGN(void* base, mapShared(nullptr, fd, bytes));
  advise(base, bytes, RegionUse::kSegment);
  return std::shared_ptr<ForeignRegion>(new ForeignRegion(base, bytes));
}

ForeignRegion::~ForeignRegion() { munmap(base_, bytes_); }

}  // namespace flexlink
