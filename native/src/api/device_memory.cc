// SPDX-License-Identifier: Apache-2.0
#include "api/device_memory.h"

#include <map>
#include <mutex>

#include "device/cuda/devices.h"

namespace flexlink {
namespace {

struct Allocated {
  std::mutex mutex;  // guards all
  std::map<void*, std::shared_ptr<CudaDevice>> all;
};

Allocated& allocated() {
  static auto* allocated = new Allocated;
  return *allocated;
}

}  // namespace

Result<void*> allocateOnGpu(size_t bytes) {
  FLEXLINK_TRY_ASSIGN(std::shared_ptr<CudaDevice> gpu, cudaDevice(-1));
  FLEXLINK_TRY_ASSIGN(void* at, gpu->allocate(bytes));
  std::lock_guard<std::mutex> lock(allocated().mutex);
  allocated().all[at] = std::move(gpu);
  return at;
}

Result<bool> freeOnGpu(void* pointer) {
  std::shared_ptr<CudaDevice> gpu;
  {
    std::lock_guard<std::mutex> lock(allocated().mutex);
    const auto found = allocated().all.find(pointer);
    if (found == allocated().all.end()) return false;
    gpu = std::move(found->second);
    allocated().all.erase(found);
  }
  FLEXLINK_TRY(gpu->release(pointer));
  return true;
}

Status shareOnGpu(const Communicator& comm, WindowPart* part) {
  if (part->bytes == 0) return {};
  Result<MemoryHandle> handle = comm.gpu()->share(part->address);
  if (handle.ok()) {
    part->handle = handle.value();
    return {};
  }
  return makeStatus(Code::kInvalidUsage,
                    "ncclCommWindowRegister on rank %d: %p cannot be shared with other processes: "
                    "it must be from ncclMemAlloc or cudaMalloc (%s)",
                    comm.rank(), part->address, handle.status().text());
}

Result<std::unique_ptr<OpenedMemory>> openParts(const Communicator& comm,
                                                std::vector<WindowPart>* parts) {
  auto made = std::make_unique<OpenedMemory>(comm.gpu());
  for (int rank = 0; rank < comm.ranks(); ++rank) {
    WindowPart& part = (*parts)[static_cast<size_t>(rank)];
    if (rank == comm.rank() || part.bytes == 0) continue;
    Result<void*> opened = made->open(part.handle);
    if (!opened.ok()) {
      return makeStatus(Code::kInvalidUsage,
                        "ncclCommWindowRegister: the GPU of rank %d does not reach the memory of "
                        "rank %d: %s",
                        comm.rank(), rank, opened.status().text());
    }
    part.address = opened.value();
  }
  return made;
}

}  // namespace flexlink
