// SPDX-License-Identifier: Apache-2.0
// From torch's tensors, types and reduction ops to the library's.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <torch/csrc/distributed/c10d/Types.hpp>
#include <vector>

#include "communicator.h"

namespace flexlink::pytorch {

// What the library sees of a tensor.
struct Elements {
  void* data = nullptr;
  size_t count = 0;
  ncclDataType_t type = ncclUint8;
};

// Torch's name for GPUs whose memory CUDA knows: "cuda", but for tests.
void setGpuType(const std::string& name);
c10::DeviceType gpuType();

// A tensor whose bytes are moved and never added: any type. Types that the library lacks travel as
// bytes. Throws unless it is dense, contiguous and on the CPU or a GPU; `what` is the operation's
// name.
Elements movable(const at::Tensor& tensor, const char* what);

// A reduction over tensors of one type, ready to be called.
class Reduction {
 public:
  // Throws where the type does not bear the op (an average of bool, a minimum of complex), with
  // what torch's own backends would say.
  Reduction(const at::Tensor& tensor, const c10d::ReduceOp& op, const char* what);

  // As movable(), of the type that the reduction uses: complex numbers are pairs.
  Elements elements(const at::Tensor& tensor) const;

  // Calls `run` with the op; it is one of the communicator where it has a factor.
  template <typename Run>
  ncclResult_t with(const On& on, Run&& run) const {
    if (factor_.empty()) return run(op_);
    ncclRedOp_t made = ncclSum;
    ncclResult_t result = makeOp(on, &made);
    if (result != ncclSuccess) return result;
    result = run(made);
    on.nccl.ncclRedOpDestroy(made, on.comm);
    return result;
  }

 private:
  ncclResult_t makeOp(const On& on, ncclRedOp_t* made) const;
  void takeFactor(const c10d::ReduceOp& op, at::ScalarType type);

  const char* const what_;
  ncclDataType_t type_ = ncclFloat32;
  ncclRedOp_t op_ = ncclSum;
  bool pairs_ = false;
  std::vector<uint8_t> factor_;  // PREMUL_SUM: one element of the type; else empty
};

// Do they lie one behind the other, without a gap, all of one size?
bool adjacent(const std::vector<at::Tensor>& tensors);

// All of one size and type as `like`?
bool alike(const std::vector<at::Tensor>& tensors, const at::Tensor& like);

}  // namespace flexlink::pytorch
