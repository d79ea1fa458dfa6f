// SPDX-License-Identifier: Apache-2.0
#include "lane/image/image_plan.h"

#include <algorithm>

namespace flexlink {
namespace {

// Slices of a long call: the first copy in and the last one out run beside nothing else.
constexpr size_t kSlices = 4;
constexpr size_t kWholeElements = 64;  // slices begin where vectors do

constexpr size_t roundUp(size_t elements) {
  return (elements + kWholeElements - 1) / kWholeElements * kWholeElements;
}

// Blocks that an image holds at most.
size_t blocksOf(Collective kind, int ranks) {
  const size_t sides = (sendsBlocks(kind) ? 1u : 0u) + (receivesBlocks(kind) ? 1u : 0u);
  return sides == 0 ? 1 : sides * static_cast<size_t>(ranks);
}

// Where blocks lie side by side on both sides they are one copy.
void add(std::vector<ImageCopy>* copies, ImageCopy next) {
  if (next.bytes == 0) return;
  if (!copies->empty()) {
    ImageCopy& last = copies->back();
    if (last.user + last.bytes == next.user && last.image + last.bytes == next.image) {
      last.bytes += next.bytes;
      return;
    }
  }
  copies->push_back(next);
}

class Planner {
 public:
  Planner(const Call& call, int rank, int ranks, ElementRange range)
      : call_(call),
        rank_(static_cast<size_t>(rank)),
        ranks_(static_cast<size_t>(ranks)),
        skipped_(range.begin * typeSize(call.type)),
        block_(range.size() * typeSize(call.type)),
        stride_(strideOf(call) * typeSize(call.type)) {}

  // In place wherever the API allows it. AlltoAll does not: what is received lies behind.
  ImageSlice plan(uint8_t* image) {
    const size_t own = rank_ * block_;
    const bool all = receivesBlocks(call_.kind) && takes();
    size_t sendAt = 0, recvAt = 0;
    if (call_.kind == Collective::kAlltoAll) {
      recvAt = ranks_ * block_;
    } else if (sendsBlocks(call_.kind) && gives()) {
      recvAt = own;
    } else if (all) {
      sendAt = own;
    }
    if (gives()) blocks(&slice_.in, sendsBlocks(call_.kind), sendAt, false);
    if (takes()) blocks(&slice_.out, all, recvAt, inPlace());
    slice_.call = call_;
    slice_.call.send = image + sendAt;
    slice_.call.recv = image + recvAt;
    slice_.call.count = block_ / typeSize(call_.type);
    slice_.call.stride = 0;
    return std::move(slice_);
  }

 private:
  bool isRoot() const { return static_cast<size_t>(call_.root) == rank_; }
  bool gives() const {
    const bool rootOnly =
        call_.kind == Collective::kBroadcast || call_.kind == Collective::kScatter;
    return !rootOnly || isRoot();
  }
  bool takes() const {
    const bool rootOnly = call_.kind == Collective::kReduce || call_.kind == Collective::kGather;
    return !rootOnly || isRoot();
  }

  // Is this rank's own block where it belongs from the start?
  bool inPlace() const {
    const auto* send = static_cast<const uint8_t*>(call_.send);
    const auto* recv = static_cast<const uint8_t*>(call_.recv);
    switch (call_.kind) {
      case Collective::kBroadcast:
        return isRoot() && send == recv;
      case Collective::kAllGather:
      case Collective::kGather:
        return send == recv + rank_ * stride_;
      case Collective::kScatter:
        return isRoot() && recv == send + rank_ * stride_;
      default:
        return false;
    }
  }

  // One block of the user's, or one of each rank, from `at` on in the image.
  void blocks(std::vector<ImageCopy>* copies, bool all, size_t at, bool withoutOwn) const {
    for (size_t i = 0; i < (all ? ranks_ : 1); ++i) {
      if (withoutOwn && (!all || i == rank_)) continue;
      add(copies, {skipped_ + i * stride_, at + i * block_, block_});
    }
  }

  const Call& call_;
  const size_t rank_;
  const size_t ranks_;
  const size_t skipped_;  // bytes of each of the user's blocks before this slice
  const size_t block_;    // bytes of one block in the image
  const size_t stride_;   // bytes between the user's blocks
  ImageSlice slice_;
};

}  // namespace

size_t imageElements(const Call& call, int ranks, const ImageTuning& tuning) {
  const size_t element = blocksOf(call.kind, ranks) * typeSize(call.type);
  const size_t most = std::max<size_t>(1, tuning.slotBytes / element);
  const size_t wanted = std::max(tuning.leastBytes / element, (call.count + kSlices - 1) / kSlices);
  size_t elements = std::min(most, std::max<size_t>(1, wanted));
  if (elements >= call.count) return std::max<size_t>(1, call.count);
  // Equal slices: a short last one would take a whole round of its own.
  const size_t slices = (call.count + elements - 1) / elements;
  elements = roundUp((call.count + slices - 1) / slices);
  return elements <= most ? elements : std::max<size_t>(1, most / kWholeElements * kWholeElements);
}

ImageSlice imageSlice(const Call& call, int rank, int ranks, ElementRange range, const Whole* whole,
                      uint8_t* image) {
  ImageSlice slice = Planner(call, rank, ranks, range).plan(image);
  slice.call.whole = whole;
  return slice;
}

}  // namespace flexlink
