// SPDX-License-Identifier: Apache-2.0
#include "tensors.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace flexlink::pytorch {
namespace {

std::optional<ncclDataType_t> typeOf(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return ncclFloat32;
    case at::kDouble:
      return ncclFloat64;
    case at::kHalf:
      return ncclFloat16;
    case at::kBFloat16:
      return ncclBfloat16;
    case at::kChar:
      return ncclInt8;
    case at::kByte:
    case at::kBool:
      return ncclUint8;
    case at::kInt:
      return ncclInt32;
    case at::kLong:
      return ncclInt64;
    case at::kUInt32:
      return ncclUint32;
    case at::kUInt64:
      return ncclUint64;
    case at::kFloat8_e4m3fn:
      return ncclFloat8e4m3;
    case at::kFloat8_e5m2:
      return ncclFloat8e5m2;
    default:
      return std::nullopt;
  }
}

c10::DeviceType& gpu() {
  static c10::DeviceType type = c10::DeviceType::CUDA;
  return type;
}

void checkTensor(const at::Tensor& tensor, const char* what) {
  TORCH_CHECK(!tensor.is_sparse(), "flexlink: ", what, ": sparse tensors are not supported");
  TORCH_CHECK(tensor.device().is_cpu() || tensor.device().type() == gpuType(), "flexlink: ", what,
              ": the tensor is on ", tensor.device(), ", and only tensors on the CPU and on ",
              c10::DeviceTypeName(gpuType(), true), " can be carried");
  TORCH_CHECK(tensor.is_contiguous(tensor.suggest_memory_format()), "flexlink: ", what,
              ": Tensors must be contiguous, this one has sizes ", tensor.sizes(), " and strides ",
              tensor.strides());
}

bool isBitwise(c10d::ReduceOp::RedOpType op) {
  return op == c10d::ReduceOp::BAND || op == c10d::ReduceOp::BOR || op == c10d::ReduceOp::BXOR;
}

const char* nameOf(c10d::ReduceOp::RedOpType op) {
  static constexpr const char* kNames[] = {"SUM",  "AVG", "PRODUCT", "MIN",        "MAX",
                                           "BAND", "BOR", "BXOR",    "PREMUL_SUM", "UNUSED"};
  return kNames[std::min<size_t>(op, 9)];
}

// Of numbers 0 and 1, which is what a bool holds.
std::optional<ncclRedOp_t> opOfBool(c10d::ReduceOp::RedOpType op) {
  switch (op) {
    case c10d::ReduceOp::SUM:
    case c10d::ReduceOp::MAX:
    case c10d::ReduceOp::BOR:
      return ncclMax;
    case c10d::ReduceOp::PRODUCT:
    case c10d::ReduceOp::MIN:
    case c10d::ReduceOp::BAND:
      return ncclMin;
    case c10d::ReduceOp::BXOR:
      return flexlinkBitXor;
    default:
      return std::nullopt;
  }
}

std::optional<ncclRedOp_t> opOf(c10d::ReduceOp::RedOpType op, bool integers, bool pairs) {
  if (isBitwise(op) && !integers) return std::nullopt;
  switch (op) {
    case c10d::ReduceOp::SUM:
    case c10d::ReduceOp::PREMUL_SUM:
      return ncclSum;
    case c10d::ReduceOp::AVG:
      return ncclAvg;
    case c10d::ReduceOp::PRODUCT:
      return pairs ? std::nullopt : std::optional(ncclProd);
    case c10d::ReduceOp::MIN:
      return pairs ? std::nullopt : std::optional(ncclMin);
    case c10d::ReduceOp::MAX:
      return pairs ? std::nullopt : std::optional(ncclMax);
    case c10d::ReduceOp::BAND:
      return flexlinkBitAnd;
    case c10d::ReduceOp::BOR:
      return flexlinkBitOr;
    case c10d::ReduceOp::BXOR:
      return flexlinkBitXor;
    default:
      return std::nullopt;
  }
}

}  // namespace

void setGpuType(const std::string& name) { gpu() = c10::Device(name).type(); }

c10::DeviceType gpuType() { return gpu(); }

Elements movable(const at::Tensor& tensor, const char* what) {
  checkTensor(tensor, what);
  std::optional<ncclDataType_t> type = typeOf(tensor.scalar_type());
  size_t count = type ? static_cast<size_t>(tensor.numel()) : tensor.nbytes();
  return {tensor.data_ptr(), count, type.value_or(ncclUint8)};
}

Reduction::Reduction(const at::Tensor& tensor, const c10d::ReduceOp& op, const char* what)
    : what_(what) {
  at::ScalarType given = tensor.scalar_type();
  pairs_ = at::isComplexType(given);
  at::ScalarType real = pairs_ ? at::toRealValueType(given) : given;
  std::optional<ncclDataType_t> type = typeOf(real);
  TORCH_CHECK(type, "flexlink: ", what, ": there is no reduction of ", given);
  bool integers = at::isIntegralType(real, false);
  std::optional<ncclRedOp_t> found =
      given == at::kBool ? opOfBool(op.op_) : opOf(op.op_, integers, pairs_);
  TORCH_CHECK(found, "flexlink: ", what, ": Cannot use ReduceOp.", nameOf(op.op_), " with ", given);
  type_ = *type;
  op_ = *found;
  if (op.op_ == c10d::ReduceOp::PREMUL_SUM) takeFactor(op, real);
}

void Reduction::takeFactor(const c10d::ReduceOp& op, at::ScalarType type) {
  // Torch's own rule, by the name that all versions know.
  const auto* supplement = static_cast<const c10d::NCCLPreMulSumSupplement*>(op.supplement_.get());
  at::Tensor factor = supplement->tensor_factor.defined()
                          ? supplement->tensor_factor.to(at::kCPU, type)
                          : at::scalar_tensor(supplement->double_factor, at::kDouble).to(type);
  factor_.resize(factor.element_size());
  std::memcpy(factor_.data(), factor.data_ptr(), factor_.size());
}

Elements Reduction::elements(const at::Tensor& tensor) const {
  checkTensor(tensor, what_);
  return {tensor.data_ptr(), static_cast<size_t>(tensor.numel()) * (pairs_ ? 2 : 1), type_};
}

ncclResult_t Reduction::makeOp(const On& on, ncclRedOp_t* made) const {
  void* factor = const_cast<uint8_t*>(factor_.data());  // NCCL's API takes no const
  return on.nccl.ncclRedOpCreatePreMulSum(made, factor, type_, ncclScalarHostImmediate, on.comm);
}

bool adjacent(const std::vector<at::Tensor>& tensors) {
  const auto* next = static_cast<const uint8_t*>(tensors.front().const_data_ptr());
  const size_t bytes = tensors.front().nbytes();
  return std::all_of(tensors.begin(), tensors.end(), [&](const at::Tensor& tensor) {
    bool here =
        tensor.const_data_ptr() == next && tensor.nbytes() == bytes && tensor.is_contiguous();
    next += bytes;
    return here;
  });
}

bool alike(const std::vector<at::Tensor>& tensors, const at::Tensor& like) {
  return std::all_of(tensors.begin(), tensors.end(), [&](const at::Tensor& tensor) {
    return tensor.numel() == like.numel() && tensor.scalar_type() == like.scalar_type();
  });
}

}  // namespace flexlink::pytorch
