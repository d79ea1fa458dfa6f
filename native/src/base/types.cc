// SPDX-License-Identifier: Apache-2.0
#include "base/types.h"

namespace flexlink {

const char* typeName(DataType type) {
  static constexpr const char* kNames[kDataTypes] = {
      "int8",    "uint8",   "int32",   "uint32",   "int64",      "uint64",
      "float16", "float32", "float64", "bfloat16", "float8e4m3", "float8e5m2"};
  return kNames[static_cast<int>(type)];
}

const char* opName(ReduceOp op) {
  static constexpr const char* kNames[] = {"sum",       "prod",   "max",   "min",   "avg",
                                           "premulsum", "bitand", "bitor", "bitxor"};
  return kNames[static_cast<int>(op)];
}

const char* collectiveName(Collective collective) {
  static constexpr const char* kNames[] = {
      "AllReduce", "Broadcast", "Reduce", "AllGather", "ReduceScatter", "AlltoAll",  "Gather",
      "Scatter",   "Send",      "Recv",   "PutSignal", "Signal",        "WaitSignal"};
  return kNames[static_cast<int>(collective)];
}

}  // namespace flexlink
