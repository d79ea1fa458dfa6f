// SPDX-License-Identifier: Apache-2.0
#include "lane/call_text.h"

namespace flexlink {

uint64_t packSignature(const Call& call) {
  return static_cast<uint64_t>(call.kind) | static_cast<uint64_t>(call.type) << 8 |
         static_cast<uint64_t>(call.op) << 16 |
         static_cast<uint64_t>(static_cast<uint32_t>(call.root)) << 32;
}

ProbeSignature probeCall(const Call& call, size_t bytes) {
  ProbeSignature signature;
  signature.collective = static_cast<uint8_t>(call.kind);
  signature.type = static_cast<uint8_t>(call.type);
  signature.op = static_cast<uint8_t>(call.op);
  signature.root = call.root;
  signature.count = call.count;
  signature.bytes = bytes;
  return signature;
}

std::string describeCall(uint64_t signature, uint64_t count) {
  auto kind = static_cast<Collective>(signature & 0xff);
  std::string text = collectiveName(kind);
  text +=
      " of " + std::to_string(count) + " " + typeName(static_cast<DataType>(signature >> 8 & 0xff));
  if (folds(kind))
    text += std::string(", ") + opName(static_cast<ReduceOp>(signature >> 16 & 0xff));
  if (isRooted(kind)) text += ", root " + std::to_string(static_cast<int32_t>(signature >> 32));
  return text;
}

}  // namespace flexlink
