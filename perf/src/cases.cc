// SPDX-License-Identifier: Apache-2.0
// Tables and arithmetic of cases.h.
#include "cases.h"

#include <array>
#include <utility>

namespace flexlink::perf {
namespace {

constexpr std::array<const char*, kCollectives> kCollectiveNames = {
    "all_reduce", "all_gather", "broadcast", "reduce_scatter", "reduce",
    "alltoall",   "gather",     "scatter",   "sendrecv"};
constexpr std::array<const char*, kTypes> kTypeNames = {"int8",   "uint8",    "int32",  "uint32",
                                                        "int64",  "uint64",   "half",   "float",
                                                        "double", "bfloat16", "f8e4m3", "f8e5m2"};
constexpr std::array<size_t, kTypes> kTypeSizes = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
constexpr std::array<const char*, kOps + 1> kOpNames = {"sum", "prod",   "max", "min",
                                                        "avg", "mulsum", "none"};

// Names that users bring from other tools.
constexpr std::array<std::pair<std::string_view, Type>, 9> kTypeAliases = {
    {{"char", Type::kInt8},
     {"int", Type::kInt32},
     {"float16", Type::kHalf},
     {"float32", Type::kFloat},
     {"float64", Type::kDouble},
     {"bf16", Type::kBfloat16},
     {"fp8_e4m3", Type::kFloat8e4m3},
     {"fp8_e5m2", Type::kFloat8e5m2},
     {"fp16", Type::kHalf}}};

template <typename Enum, size_t N>
std::optional<Enum> findIn(const std::array<const char*, N>& names, std::string_view name) {
  for (size_t i = 0; i < N; ++i) {
    if (name == names[i]) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

bool isBlocked(Collective collective) {
  switch (collective) {
    case Collective::kAllGather:
    case Collective::kReduceScatter:
    case Collective::kAlltoAll:
    case Collective::kGather:
    case Collective::kScatter:
      return true;
    default:
      return false;
  }
}

}  // namespace

const char* collectiveName(Collective collective) {
  return kCollectiveNames[static_cast<size_t>(collective)];
}
const char* typeName(Type type) { return kTypeNames[static_cast<size_t>(type)]; }
const char* opName(Op op) { return kOpNames[static_cast<size_t>(op)]; }
size_t typeSize(Type type) { return kTypeSizes[static_cast<size_t>(type)]; }

std::optional<Collective> findCollective(std::string_view name) {
  if (name == "all_to_all") return Collective::kAlltoAll;
  return findIn<Collective>(kCollectiveNames, name);
}

std::optional<Type> findType(std::string_view name) {
  for (const auto& [alias, type] : kTypeAliases) {
    if (alias == name) return type;
  }
  return findIn<Type>(kTypeNames, name);
}

std::optional<Op> findOp(std::string_view name) { return findIn<Op>(kOpNames, name); }

bool reduces(Collective collective) {
  return collective == Collective::kAllReduce || collective == Collective::kReduceScatter ||
         collective == Collective::kReduce;
}

bool hasRoot(Collective collective) {
  return collective == Collective::kBroadcast || collective == Collective::kReduce ||
         collective == Collective::kGather || collective == Collective::kScatter;
}

bool checksInPlace(Collective collective) {
  return collective != Collective::kAlltoAll && collective != Collective::kSendRecv;
}

Shape shapeOf(Collective collective, size_t bytes, Type type, int ranks) {
  const size_t elements = bytes / typeSize(type);
  if (!isBlocked(collective)) return {elements, elements, elements, 0, 0};
  const size_t all = static_cast<size_t>(ranks);
  const size_t block = elements / all & ~(16 / typeSize(type) - 1);
  switch (collective) {
    case Collective::kAllGather:
    case Collective::kGather:
      return {block, block * all, block, block, 0};
    case Collective::kReduceScatter:
    case Collective::kScatter:
      return {block * all, block, block, 0, block};
    default:
      return {block * all, block * all, block, 0, 0};
  }
}

double busFactor(Collective collective, int ranks) {
  const double n = ranks;
  if (collective == Collective::kAllReduce) return 2 * (n - 1) / n;
  return isBlocked(collective) ? (n - 1) / n : 1;
}

double algBytes(Collective collective, const Shape& shape, Type type, int ranks) {
  const double block = static_cast<double>(shape.count * typeSize(type));
  return isBlocked(collective) ? block * ranks : block;
}

double trafficBytes(Collective collective, const Shape& shape, Type type, int ranks, bool inPlace) {
  const double n = ranks;
  const double block = static_cast<double>(shape.count * typeSize(type));
  const double others = inPlace ? n - 1 : n;  // in place, the own block is where it belongs
  switch (collective) {
    case Collective::kAllReduce:
    case Collective::kSendRecv:
      return 2 * n * block;
    case Collective::kBroadcast:
    case Collective::kGather:
    case Collective::kScatter:
      return 2 * others * block;
    case Collective::kReduce:
      return (n + 1) * block;
    case Collective::kReduceScatter:
      return n * (n + 1) * block;
    case Collective::kAllGather:
      return 2 * n * others * block;
    case Collective::kAlltoAll:
      return 2 * n * n * block;
  }
  return 0;
}

}  // namespace flexlink::perf
