// SPDX-License-Identifier: Apache-2.0
// Cases as values: drawing them, their inputs and their exact results. No FlexLink call.
#include "support/collective_case.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace ranktest {
namespace {

// Inputs repeat after a prime number of elements, so that a run needs few reference folds, and no
// chunk of a power-of-two size can land on an equal one.
constexpr size_t kPeriod = 4099;

// Integers whose result is exact in three significant bits; `key` is the same on all ranks.
int64_t smallInput(const Case& c, int ranks, int rank, uint64_t key) {
  const bool negative = isSigned(c.type);
  const uint64_t own = mix(key, static_cast<uint64_t>(rank));
  const int turn = static_cast<int>((key + static_cast<uint64_t>(rank)) % ranks);
  const int64_t sign = negative && (own & 1) != 0 ? -1 : 1;
  if (!reduces(c.coll)) return static_cast<int64_t>(own % 9) * sign;
  switch (c.op) {
    case Op::kProd:
      return (turn < 3 ? 2 : 1) * sign;
    case Op::kMax:
    case Op::kMin:
      return static_cast<int64_t>(own % 9) * sign;
    case Op::kAvg: {  // the sum is a multiple of the number of ranks
      const auto base = static_cast<int64_t>(1 + key % 2);
      if (ranks == 1) return base;
      return turn == 0 ? base + 1 : turn == 1 ? base - 1 : base;
    }
    case Op::kPreMulSum:
      return turn < 3 ? sign : 0;
    default:
      return turn < 3 ? static_cast<int64_t>(1 + own / 2 % 2) * sign : 0;
  }
}

int64_t smallScalar(int rank) { return 1 + rank % 2; }

Bits smallResult(const Case& c, int ranks, uint64_t key) {
  int64_t acc = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    const int64_t x = smallInput(c, ranks, rank, key);
    if (rank == 0) {
      acc = c.op == Op::kPreMulSum ? x * smallScalar(rank) : x;
    } else if (c.op == Op::kProd) {
      acc *= x;
    } else if (c.op == Op::kMax) {
      acc = std::max(acc, x);
    } else if (c.op == Op::kMin) {
      acc = std::min(acc, x);
    } else {
      acc += c.op == Op::kPreMulSum ? x * smallScalar(rank) : x;
    }
  }
  if (c.op == Op::kAvg) acc /= ranks;
  return fromInteger(acc, c.type);
}

// Where several ranks share a host: their sums first, in the user's type, then the hosts' sums.
Bits foldByHost(const std::vector<Bits>& inputs, const Case& c, const std::vector<Bits>& scalars) {
  const char* pattern = getenv("FLEXLINK_TEST_HOSTS");
  std::vector<std::vector<size_t>> hosts;
  std::string names;
  for (size_t rank = 0; pattern != nullptr && rank < inputs.size(); ++rank) {
    const char name = pattern[rank % strlen(pattern)];
    if (names.find(name) == std::string::npos) {
      names += name;
      hosts.emplace_back();
    }
    hosts[names.find(name)].push_back(rank);
  }
  if (hosts.size() <= 1 || hosts.size() == inputs.size()) {
    return foldBits(inputs, c.type, c.op, scalars);
  }
  std::vector<Bits> sums;
  for (const std::vector<size_t>& ranks : hosts) {
    std::vector<Bits> in, factors;
    for (size_t rank : ranks) {
      in.push_back(inputs[rank]);
      if (!scalars.empty()) factors.push_back(scalars[rank]);
    }
    sums.push_back(foldBits(in, c.type, c.op == Op::kAvg ? Op::kSum : c.op, factors));
  }
  return foldBits(sums, c.type, c.op == Op::kPreMulSum ? Op::kSum : c.op, {}, inputs.size());
}

Bits folded(const Case& c, int ranks, int block, size_t i) {
  if (c.smallIntegers) {
    return smallResult(c, ranks, mix(c.key, static_cast<uint64_t>(block), i % kPeriod));
  }
  thread_local std::vector<Bits> inputs;  // kept: this runs once for each element
  thread_local std::vector<Bits> scalars;
  inputs.clear();
  scalars.clear();
  for (int rank = 0; rank < ranks; ++rank) {
    inputs.push_back(inputBits(c, ranks, rank, block, i));
    if (c.op == Op::kPreMulSum) scalars.push_back(scalarBits(c, rank));
  }
  return foldByHost(inputs, c, scalars);
}

}  // namespace

const char* collText(Coll coll) {
  constexpr const char* kNames[] = {"AllReduce",     "Broadcast", "Bcast",  "Reduce",  "AllGather",
                                    "ReduceScatter", "AlltoAll",  "Gather", "Scatter", "SendRecv"};
  return kNames[static_cast<int>(coll)];
}

bool reduces(Coll coll) {
  return coll == Coll::kAllReduce || coll == Coll::kReduce || coll == Coll::kReduceScatter;
}

bool hasRoot(Coll coll) {
  return coll == Coll::kBroadcast || coll == Coll::kBcast || coll == Coll::kReduce ||
         coll == Coll::kGather || coll == Coll::kScatter;
}

std::string Case::text() const {
  constexpr const char* kMemory[] = {"malloc", "ncclMemAlloc", "registered malloc",
                                     "registered ncclMemAlloc", "mixed memory"};
  std::ostringstream out;
  out << collText(coll) << " " << count << " x " << typeText(type);
  if (reduces(coll)) out << " " << opText(op);
  if (hasRoot(coll)) out << " root " << root;
  if (coll == Coll::kSendRecv) out << " shift " << shift;
  out << (inPlace ? " in place" : "") << " +" << misalign << " "
      << kMemory[static_cast<int>(memory)] << (smallIntegers ? " integers" : " bits")
      << (configForm ? " Config form" : "") << (nullUnused ? " NULL where unused" : "");
  return out.str();
}

Bits scalarBits(const Case& c, int rank) {
  if (c.smallIntegers) return fromInteger(smallScalar(rank), c.type);
  // The range of factors keeps a premultiplied sum inside fp8's range.
  return randomBits(mix(c.key, 4711, static_cast<uint64_t>(rank)), c.type, Op::kProd);
}

Bits inputBits(const Case& c, int ranks, int rank, int block, size_t i) {
  const auto b = static_cast<uint64_t>(block);
  if (c.smallIntegers) {
    return fromInteger(smallInput(c, ranks, rank, mix(c.key, b, i % kPeriod)), c.type);
  }
  const uint64_t key = mix(c.key, b, i % kPeriod, static_cast<uint64_t>(rank) + 1);
  if (reduces(c.coll)) return randomBits(key, c.type, c.op);
  const size_t bits = 8 * typeBytes(c.type);  // a copy keeps any pattern, also a NaN
  return bits == 64 ? key : key & ((Bits{1} << bits) - 1);
}

Bits resultBits(const Case& c, int ranks, int rank, int block, size_t i) {
  switch (c.coll) {
    case Coll::kAllReduce:
    case Coll::kReduce:
      return folded(c, ranks, 0, i);
    case Coll::kReduceScatter:
      return folded(c, ranks, rank, i);
    case Coll::kBroadcast:
    case Coll::kBcast:
      return inputBits(c, ranks, c.root, 0, i);
    case Coll::kAllGather:
    case Coll::kGather:
      return inputBits(c, ranks, block, 0, i);
    case Coll::kAlltoAll:
      return inputBits(c, ranks, block, rank, i);
    case Coll::kScatter:
      return inputBits(c, ranks, c.root, rank, i);
    case Coll::kSendRecv:
      return inputBits(c, ranks, (rank + ranks - c.shift % ranks) % ranks, 0, i);
  }
  return 0;
}

int sendBlocks(Coll coll, int ranks) {
  const bool many =
      coll == Coll::kReduceScatter || coll == Coll::kAlltoAll || coll == Coll::kScatter;
  return many ? ranks : 1;
}

int recvBlocks(Coll coll, int ranks) {
  const bool many = coll == Coll::kAllGather || coll == Coll::kAlltoAll || coll == Coll::kGather;
  return many ? ranks : 1;
}

std::string patternOf(const Case& c, int ranks, int rank, int block, bool input) {
  const size_t bytes = typeBytes(c.type);
  const size_t elements = std::min(c.count, kPeriod);
  std::string out(elements * bytes, '\0');
  for (size_t i = 0; i < elements; ++i) {
    storeBits(out.data() + i * bytes, c.type,
              input ? inputBits(c, ranks, rank, block, i) : resultBits(c, ranks, rank, block, i));
  }
  return out;
}

Case drawCase(uint64_t seed, uint64_t index, int ranks, size_t maxBytes) {
  constexpr size_t kCounts[] = {0, 1, 3, 17, 1000, 5000, 70001, size_t{1} << 20};
  uint64_t step = 0;
  const auto draw = [&](uint64_t below) { return mix(seed, index, ++step) % below; };
  Case c;
  c.coll = kAllColls[draw(std::size(kAllColls))];
  c.type = kAllTypes[draw(std::size(kAllTypes))];
  c.op = kAllOps[draw(std::size(kAllOps))];
  c.root = static_cast<int>(draw(ranks));
  c.shift = static_cast<int>(draw(ranks));
  c.inPlace = c.coll == Coll::kBcast ||
              (draw(2) == 0 && c.coll != Coll::kAlltoAll && c.coll != Coll::kSendRecv);
  c.misalign = draw(2) == 0 ? 0 : static_cast<int>(draw(8));
  c.memory = kAllMemories[draw(std::size(kAllMemories))];
  c.smallIntegers = draw(2) == 0;
  c.configForm = draw(8) == 0;
  c.nullUnused = draw(4) == 0;
  c.key = mix(seed, index, 1234567);
  // The largest count is drawn seldom; between the fixed ones lie arbitrary ones.
  const uint64_t which = draw(40);
  c.count = which == 0   ? kCounts[7]
            : which < 29 ? kCounts[which % 7]
                         : draw(size_t{1} << (1 + draw(15)));
  const size_t blocks = std::max(sendBlocks(c.coll, ranks), recvBlocks(c.coll, ranks));
  c.count = std::min(c.count, maxBytes / (blocks * typeBytes(c.type)));
  return c;
}

uint64_t testSeed() {
  const char* text = getenv("FLEXLINK_TEST_SEED");
  return text == nullptr || *text == '\0' ? 20240229 : strtoull(text, nullptr, 0);
}

}  // namespace ranktest
