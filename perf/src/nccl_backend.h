// SPDX-License-Identifier: Apache-2.0
// A Backend over the public NCCL API: one communicator for each local rank of the thread, with
// stream NULL (calls block), a flexlink.h stream or a GPU's stream for each.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "backend.h"
#include "control.h"
#include "gpu.h"
#include "nccl_library.h"

namespace flexlink::perf {

struct NcclSetup {
  const NcclLibrary* library = nullptr;  // outlives the backend
  ncclUniqueId id{};
  int ranks = 1;
  int firstRank = 0;
  int localRanks = 1;
  bool async = false;
  int ctaPolicy = -1;      // negative: not set
  std::vector<Gpu*> gpus;  // of the local ranks, outlive the backend; empty: host memory
};

// Ends the process with the library's text if it cannot.
ncclUniqueId makeUniqueId(const NcclLibrary& library);

// Rank 0 makes a unique id and leaves it in the page; the others take it from there.
ncclUniqueId idOverPage(const NcclLibrary& library, int rank, SharedPage* page);

class NcclBackend final : public Backend {
 public:
  // Joins the communicators; all threads of all processes call it at the same time. Null on error.
  static std::unique_ptr<NcclBackend> create(const NcclSetup& setup, std::string* error);
  ~NcclBackend() override;

  std::string name() const override { return setup_.library->describe(); }
  int ranks() const override { return setup_.ranks; }
  int firstRank() const override { return setup_.firstRank; }
  int localRanks() const override { return setup_.localRanks; }
  std::string refusal(const Call& call) const override;
  bool enqueue(std::span<const Call> calls) override;
  bool wait() override;
  bool groupStart() override { return keep(setup_.library->ncclGroupStart()); }
  bool groupEnd() override { return keep(setup_.library->ncclGroupEnd()); }
  DeviceMemory* memory(int local) const override { return gpu(local); }
  void* allocate(int local, size_t bytes) override;
  bool registerBuffer(int local, void* buffer, size_t bytes, bool symmetric) override;
  std::string error() const override { return error_; }

  // Bytes that the library holds for local rank 0's communicator; negative: it cannot say.
  double memoryBytes() const;

 private:
  explicit NcclBackend(const NcclSetup& setup) : setup_(setup) {}
  Gpu* gpu(int local) const { return setup_.gpus.empty() ? nullptr : setup_.gpus[local]; }
  bool join();
  bool waitForGpus();
  bool makeStreams();
  ncclResult_t issue(const Call& call, int local);
  ncclResult_t sendRecv(const Call& call, int local);
  ncclRedOp_t reduction(const Call& call, int local);
  bool keep(ncclResult_t result);

  NcclSetup setup_;
  std::vector<ncclComm_t> comms_;
  std::vector<cudaStream_t> streams_;                     // null handles: blocking
  std::vector<std::array<ncclRedOp_t, kTypes>> mulSums_;  // made on first use
  std::vector<std::array<bool, kTypes>> hasMulSum_;
  std::string error_;
};

}  // namespace flexlink::perf
