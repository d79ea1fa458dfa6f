// SPDX-License-Identifier: Apache-2.0
// One GPU as a device: copy engines, kernels and stream memory operations through libcuda.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device/device.h"
#include "device/host/kernels_table.h"
#include "drivers/libcuda.h"

namespace flexlink {

// Works in the device's primary context, the one that the CUDA runtime uses too; whatever context a
// caller has made current is current again when a call returns.
class CudaDevice final : public Device {
 public:
  // `ordinal`: as the driver counts, after CUDA_VISIBLE_DEVICES. It initialises CUDA and loads the
  // kernels: not under a lock, not while a GPU is waited for. kCuda: there is no such device, or
  // it or its driver lacks what everything here needs. The driver must live as long.
  static Result<std::unique_ptr<CudaDevice>> create(const CudaDriver& driver, int ordinal);

  // The device of the calling thread's context: the one that a CUDA program has chosen; 0 where it
  // has not chosen yet.
  static Result<int> current(const CudaDriver& driver);

  ~CudaDevice() override;

  const char* name() const override { return "cuda"; }
  int numaNode() const override { return numaNode_; }
  Result<MemoryKind> memoryOf(const void* pointer) override;
  Status pin(void* begin, size_t bytes) override;
  Status unpin(void* begin) override;
  Result<void*> allocate(size_t bytes) override;
  Status release(void* allocated) override;
  Result<MemoryHandle> share(const void* pointer) override;
  Result<void*> open(const MemoryHandle& handle) override;
  Status close(void* opened) override;
  Result<StreamHandle> makeStream() override;
  Status freeStream(StreamHandle stream) override;
  Status query(StreamHandle stream) override;
  Status copy(StreamHandle stream, void* dst, const void* src, size_t bytes) override;
  Status writeValue(StreamHandle stream, uint64_t* at, uint64_t value) override;
  Status waitValue(StreamHandle stream, const uint64_t* at, uint64_t value) override;
  Status fold(StreamHandle stream, const FoldArgs& args) override;
  Result<bool> capturing(StreamHandle stream) override;
  bool drive() override { return false; }

  int ordinal() const { return device_; }
  const std::string& model() const { return model_; }
  const std::string& pciId() const { return pciId_; }  // "0000:17:00.0", lower case

  // Why fold() cannot work here; ok where it can.
  const Status& kernels() const { return kernels_; }

  // Lets this device read and write the memory of device `peer` of this process. ok also where it
  // could already. Set-up.
  Status reachPeer(int peer);

 private:
  CudaDevice(const CudaDriver& driver, CUdevice device) : driver_(driver), device_(device) {}

  Status start();
  Status check();
  Status readPlace();
  Status loadKernels();

  const CudaDriver& driver_;
  CUdevice device_;
  CUcontext context_ = nullptr;
  std::string model_;
  std::string pciId_;
  int numaNode_ = -1;
  int multiprocessors_ = 1;
  CUmodule module_ = nullptr;
  Status kernels_;
  CUfunction functions_[kDataTypes][kReduceOps] = {};

  std::mutex mutex_;  // guards the rest; a leaf lock but for calls of the driver
  std::multimap<void*, CUdeviceptr> opened_;  // what open() gave, start of the mapping
  std::vector<CUdevice> peers_;               // whose contexts are retained for this one
};

}  // namespace flexlink
