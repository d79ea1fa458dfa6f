// SPDX-License-Identifier: Apache-2.0
#include "lane/image/image_memory.h"

#include <algorithm>
#include <new>

#include "base/log.h"
#include "device/host/region.h"
#include "engine/fd_bell.h"

namespace flexlink {
namespace {

constexpr size_t kPage = 4096;
// More than is sent to a peer that has not asked for it. With more ranks than fit, the memory
// grows.
constexpr size_t kLeastPieceBytes = 16 << 10;

// Each word on a line of its own: the device writes the first two.
struct Head {
  alignas(64) std::atomic<uint64_t> in{0};
  alignas(64) std::atomic<uint64_t> out{0};
  struct alignas(64) Scalar {
    uint64_t bits = 0;
  };
  std::array<Scalar, ImageMemory::kSlots> scalars;
};
static_assert(sizeof(Head) <= kPage);

}  // namespace

Result<std::unique_ptr<ImageMemory>> ImageMemory::open(std::shared_ptr<Device> device, int ranks,
                                                       ImageTuning tuning) {
  std::unique_ptr<ImageMemory> made(new ImageMemory(tuning));
  const size_t pieces = 2 * static_cast<size_t>(ranks) * kPieces;
  const size_t images = std::max(kSlots * tuning.slotBytes, pieces * kLeastPieceBytes);
  made->pieceBytes_ = std::min(images / pieces / kPage * kPage, tuning.pieceBytes);
  const size_t bytes = kPage + images;
  FLEXLINK_TRY_ASSIGN(made->base_, RegionTable::instance().create(bytes, RegionUse::kSegment));
  preferNode(made->base_, bytes, device->numaNode());
  auto* head = new (made->base_) Head;
  made->images_ = static_cast<uint8_t*>(made->base_) + kPage;
  const std::vector<PinnedRange> pinned{{made->base_, bytes}};
  FLEXLINK_TRY_ASSIGN(auto in, CopyStream::open(device, pinned));
  FLEXLINK_TRY_ASSIGN(auto out, CopyStream::open(device, pinned));
  made->in_ = std::make_unique<ImageStream>(std::move(in), &head->in);
  made->out_ = std::make_unique<ImageStream>(std::move(out), &head->out);
  return made;
}

ImageMemory::~ImageMemory() {
  in_.reset();  // they wait for their copies
  out_.reset();
  if (base_ == nullptr) return;
  Status freed = RegionTable::instance().destroy(base_);
  if (!freed.ok()) FLEXLINK_WARN("image memory: %s", freed.text());
}

uint64_t* ImageMemory::scalar(size_t slice) const {
  return &static_cast<Head*>(base_)->scalars[slice % kSlots].bits;
}

Status ImageMemory::drive() {
  FLEXLINK_TRY(in_->drive());
  FLEXLINK_TRY(out_->drive());
  if (!in_->idle() || !out_->idle()) nobodyRings = true;
  return {};
}

void ImageMemory::drain() {
  in_->drain();
  out_->drain();
}

}  // namespace flexlink
