// SPDX-License-Identifier: Apache-2.0
// The nouns of a call as plain values, with NCCL's own numbers (native/include/flexlink/nccl.h).
#pragma once

#include <cstddef>
#include <cstdint>

namespace flexlink {

enum class DataType : uint8_t {
  kInt8 = 0,
  kUint8 = 1,
  kInt32 = 2,
  kUint32 = 3,
  kInt64 = 4,
  kUint64 = 5,
  kFloat16 = 6,
  kFloat32 = 7,
  kFloat64 = 8,
  kBfloat16 = 9,
  kFloat8e4m3 = 10,
  kFloat8e5m2 = 11,
};
inline constexpr int kDataTypes = 12;

enum class ReduceOp : uint8_t {
  kSum = 0,
  kProd = 1,
  kMax = 2,
  kMin = 3,
  kAvg = 4,        // sum, then one division by the number of ranks
  kPreMulSum = 5,  // every rank's contribution times that rank's scalar, then sum
  kBitAnd = 6,     // these three: integers only
  kBitOr = 7,
  kBitXor = 8,
};
constexpr bool isBitwise(ReduceOp op) { return op >= ReduceOp::kBitAnd; }

enum class Collective : uint8_t {
  kAllReduce,
  kBroadcast,
  kReduce,
  kAllGather,
  kReduceScatter,
  kAlltoAll,
  kGather,
  kScatter,
  kSend,
  kRecv,
  kPutSignal,
  kSignal,
  kWaitSignal,
};

constexpr size_t typeSize(DataType type) {
  constexpr uint8_t kBytes[kDataTypes] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
  return kBytes[static_cast<int>(type)];
}

constexpr bool isInteger(DataType type) { return type <= DataType::kUint64; }

const char* typeName(DataType type);                // "float32", ...
const char* opName(ReduceOp op);                    // "sum", ...
const char* collectiveName(Collective collective);  // "AllReduce", ...

}  // namespace flexlink
