// SPDX-License-Identifier: Apache-2.0
// verify.h by patterns: a buffer is some period of values laid out from a start index, so filling
// is memcpy and comparing is memcmp, and only what differs is looked at element by element.
#include "verify.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace flexlink::perf {
namespace {

constexpr uint8_t kUntouched = 0xa7;
constexpr uint8_t kGuard = 0xc5;

// `count` elements at `offset` of the receive buffer hold pattern[start], pattern[start + 1], ...
struct Segment {
  size_t offset = 0;
  size_t count = 0;
  size_t start = 0;
  Pattern pattern;
};

uint8_t* at(const void* buffer, size_t bytes) {
  return static_cast<uint8_t*>(const_cast<void*>(buffer)) + bytes;
}

// Calls visit(bytes, pattern bytes, elements) for each run up to the end of a period.
template <typename Visit>
void eachRun(const Segment& segment, uint8_t* base, size_t size, Visit visit) {
  size_t done = 0;
  while (done < segment.count) {
    const size_t from = (segment.start + done) % kPeriod;
    const size_t run = std::min(segment.count - done, kPeriod - from);
    visit(base + (segment.offset + done) * size, &segment.pattern[from * size], run);
    done += run;
  }
}

void write(const Segment& segment, uint8_t* base, size_t size) {
  eachRun(segment, base, size, [size](uint8_t* bytes, const uint8_t* pattern, size_t count) {
    std::memcpy(bytes, pattern, count * size);
  });
}

// The complement of what is expected: no element can be right before the collective wrote it.
void poison(const Segment& segment, uint8_t* base, size_t size) {
  eachRun(segment, base, size, [size](uint8_t* bytes, const uint8_t* pattern, size_t count) {
    for (size_t i = 0; i < count * size; ++i) bytes[i] = static_cast<uint8_t>(~pattern[i]);
  });
}

uint64_t compare(const Segment& segment, uint8_t* base, size_t size) {
  uint64_t wrong = 0;
  eachRun(segment, base, size, [&](uint8_t* bytes, const uint8_t* pattern, size_t count) {
    if (std::memcmp(bytes, pattern, count * size) == 0) return;
    for (size_t i = 0; i < count; ++i) {
      wrong += std::memcmp(bytes + i * size, pattern + i * size, size) != 0;
    }
  });
  return wrong;
}

uint64_t countOther(const uint8_t* bytes, size_t length, uint8_t wanted) {
  return length - static_cast<uint64_t>(std::count(bytes, bytes + length, wanted));
}

Recipe recipeOf(const CheckCase& check) {
  const Op op = reduces(check.call.collective) ? check.call.op : Op::kNone;
  return {check.call.type, op, check.ranks, check.seed};
}

bool isRoot(const CheckCase& check) { return check.rank == check.call.root; }

// What this rank sends; on the ranks whose send buffer nobody reads, the same.
Segment sentBy(const CheckCase& check) {
  return {0, check.shape.send, 0, contributionOf(recipeOf(check), check.rank)};
}

// Block j holds what rank j sent to this rank, from index `start` of its send buffer.
std::vector<Segment> blocks(const CheckCase& check, size_t start) {
  std::vector<Segment> segments;
  segments.reserve(static_cast<size_t>(check.ranks));
  for (int j = 0; j < check.ranks; ++j) {
    segments.push_back({static_cast<size_t>(j) * check.shape.count, check.shape.count, start,
                        contributionOf(recipeOf(check), j)});
  }
  return segments;
}

// What the receive buffer must hold; empty: it must not be touched.
std::vector<Segment> expected(const CheckCase& check) {
  const Recipe recipe = recipeOf(check);
  const size_t count = check.shape.count;
  const size_t own = static_cast<size_t>(check.rank) * count;
  switch (check.call.collective) {
    case Collective::kAllReduce:
      return {{0, count, 0, resultOf(recipe)}};
    case Collective::kReduce:
      if (!isRoot(check)) return {};
      return {{0, count, 0, resultOf(recipe)}};
    case Collective::kReduceScatter:
      return {{0, count, own, resultOf(recipe)}};
    case Collective::kBroadcast:
      return {{0, count, 0, contributionOf(recipe, check.call.root)}};
    case Collective::kScatter:
      return {{0, count, own, contributionOf(recipe, check.call.root)}};
    case Collective::kAllGather:
      return blocks(check, 0);
    case Collective::kGather:
      return isRoot(check) ? blocks(check, 0) : std::vector<Segment>{};
    case Collective::kAlltoAll:
      return blocks(check, own);
    case Collective::kSendRecv: {
      const int from = (check.rank + check.ranks - 1) % check.ranks;
      return {{0, count, 0, contributionOf(recipe, from)}};
    }
  }
  return {};
}

}  // namespace

void fillForCheck(const CheckCase& check) {
  const size_t size = typeSize(check.call.type);
  uint8_t* recv = at(check.call.recv, 0);
  const std::vector<Segment> segments = expected(check);
  if (segments.empty()) std::memset(recv, kUntouched, check.shape.recv * size);
  for (const Segment& segment : segments) poison(segment, recv, size);
  std::memset(at(recv, check.shape.recv * size), kGuard, kGuardBytes);
  if (!check.inPlace)
    std::memset(at(check.call.send, check.shape.send * size), kGuard, kGuardBytes);
  // Last, and behind the guards: in place, the input lies inside the receive buffer or around it.
  write(sentBy(check), at(check.call.send, 0), size);
}

uint64_t countWrong(const CheckCase& check) {
  const size_t size = typeSize(check.call.type);
  uint8_t* recv = at(check.call.recv, 0);
  uint64_t wrong = 0;
  const std::vector<Segment> segments = expected(check);
  for (const Segment& segment : segments) wrong += compare(segment, recv, size);
  if (check.inPlace) {
    // Where nothing is to be received, the shared buffer must still hold the input.
    return segments.empty() ? wrong + compare(sentBy(check), at(check.call.send, 0), size) : wrong;
  }
  if (segments.empty()) wrong += countOther(recv, check.shape.recv * size, kUntouched);
  wrong += compare(sentBy(check), at(check.call.send, 0), size);
  wrong += countOther(recv + check.shape.recv * size, kGuardBytes, kGuard) != 0;
  const uint8_t* guard = at(check.call.send, check.shape.send * size);
  return wrong + (countOther(guard, kGuardBytes, kGuard) != 0);
}

}  // namespace flexlink::perf
