// SPDX-License-Identifier: Apache-2.0
// The nouns of a benchmark as plain values: collectives, types, ops, how many elements a size
// means, and the factors that turn a time into bandwidth. Pure arithmetic; nothing here runs
// anything.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flexlink::perf {

enum class Collective {
  kAllReduce,
  kAllGather,
  kBroadcast,
  kReduceScatter,
  kReduce,
  kAlltoAll,
  kGather,
  kScatter,
  kSendRecv,
};
inline constexpr int kCollectives = 9;

// NCCL's own numbers, so that they can be handed to the library under test as they are.
enum class Type {
  kInt8,
  kUint8,
  kInt32,
  kUint32,
  kInt64,
  kUint64,
  kHalf,
  kFloat,
  kDouble,
  kBfloat16,
  kFloat8e4m3,
  kFloat8e5m2,
};
inline constexpr int kTypes = 12;

// kMulSum: every rank's contribution times that rank's scalar (scalarOf in values.h), then the sum.
// kNone: the collective moves data and adds nothing.
enum class Op { kSum, kProd, kMax, kMin, kAvg, kMulSum, kNone };
inline constexpr int kOps = 6;

const char* collectiveName(Collective collective);  // "all_reduce", as on the command line
const char* typeName(Type type);                    // "float"
const char* opName(Op op);                          // "sum", "none"
std::optional<Collective> findCollective(std::string_view name);
std::optional<Type> findType(std::string_view name);  // also "float32", "float16", "fp8_e4m3" ...
std::optional<Op> findOp(std::string_view name);
size_t typeSize(Type type);  // bytes

bool reduces(Collective collective);  // takes an op
bool hasRoot(Collective collective);
// False for those whose in-place form has no defined result: timed, but shown as N/A.
bool checksInPlace(Collective collective);

// Elements of one rank. In place, both buffers are one: the send part starts at
// rank × sendInPlace and the receive part at rank × recvInPlace.
struct Shape {
  size_t send = 0;
  size_t recv = 0;
  size_t count = 0;  // what the call is given
  size_t sendInPlace = 0;
  size_t recvInPlace = 0;

  size_t largest() const { return send > recv ? send : recv; }
};

// What `bytes` on the command line means; blocks are cut down to whole 16 bytes as nccl-tests does.
Shape shapeOf(Collective collective, size_t bytes, Type type, int ranks);

// busbw = algbw × busFactor; algbw = algBytes / time.
double busFactor(Collective collective, int ranks);
double algBytes(Collective collective, const Shape& shape, Type type, int ranks);

// Bytes that all ranks together must at least read and write, each input read once for every rank
// that needs it and each output written once.
double trafficBytes(Collective collective, const Shape& shape, Type type, int ranks, bool inPlace);

}  // namespace flexlink::perf
