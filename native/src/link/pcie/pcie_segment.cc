// SPDX-License-Identifier: Apache-2.0
#include "link/pcie/pcie_segment.h"

#include "base/log.h"
#include "device/drain.h"
#include "device/host/region.h"

namespace flexlink {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHeadBytes = (sizeof(PcieHead) + kPage - 1) / kPage * kPage;

bool isRingSize(uint64_t bytes) {
  return bytes >= kPcieLeastRing && bytes <= kPcieMostRing && bytes % kPcieLine == 0;
}

}  // namespace

size_t PcieSegment::bytesFor(size_t ringBytes) { return kHeadBytes + 2 * ringBytes; }

uint8_t* PcieSegment::ring(int direction) const {
  return static_cast<uint8_t*>(base_) + kHeadBytes + static_cast<size_t>(direction) * ringBytes_;
}

Result<PcieSegment> PcieSegment::make(const Device& device, size_t ringBytes) {
  if (!isRingSize(ringBytes)) {
    return makeStatus(Code::kInvalidArgument, "a pcie link cannot have a buffer of %zu bytes",
                      ringBytes);
  }
  RegionTable& regions = RegionTable::instance();
  FLEXLINK_TRY_ASSIGN(void* base, regions.create(bytesFor(ringBytes), RegionUse::kSegment));
  preferNode(base, bytesFor(ringBytes), device.numaNode());
  PcieSegment segment;
  segment.base_ = base;
  segment.ringBytes_ = ringBytes;
  segment.memory_ =
      std::shared_ptr<void>(base, [](void* own) { (void)RegionTable::instance().destroy(own); });
  PcieHead& head = segment.head();  // the rest is zero
  head.version = kPcieVersion;
  head.ringBytes = ringBytes;
  head.magic = kPcieMagic;
  return segment;
}

Result<PcieSegment> PcieSegment::view(std::shared_ptr<void> memory, void* base, size_t bytes) {
  PcieSegment segment;
  segment.memory_ = std::move(memory);
  segment.base_ = base;
  bool whole = bytes >= kHeadBytes;
  if (whole) segment.ringBytes_ = segment.head().ringBytes;
  if (!whole || segment.head().magic != kPcieMagic || segment.head().version != kPcieVersion ||
      !isRingSize(segment.ringBytes_) || bytesFor(segment.ringBytes_) > bytes) {
    return makeStatus(Code::kRemote, "a peer sent %zu bytes of memory that are no pcie link",
                      bytes);
  }
  return segment;
}

Result<std::unique_ptr<PcieChannel>> PcieChannel::open(std::shared_ptr<Device> device,
                                                       PcieSegment segment, int side) {
  std::unique_ptr<PcieChannel> channel(
      new PcieChannel(std::move(device), std::move(segment), side));
  Device& on = channel->device();
  FLEXLINK_TRY(on.pin(channel->segment_.base(), channel->segment_.bytes()));
  channel->pinned_ = true;
  FLEXLINK_TRY_ASSIGN(channel->out_, on.makeStream());
  FLEXLINK_TRY_ASSIGN(channel->in_, on.makeStream());
  return channel;
}

PcieChannel::~PcieChannel() {
  for (StreamHandle stream : {out_, in_}) {
    if (stream == nullptr) continue;
    Status freed = device_->freeStream(stream);
    if (!freed.ok()) FLEXLINK_WARN("pcie: %s", freed.text());
  }
  if (!pinned_) return;
  Status unpinned = device_->unpin(segment_.base());
  if (!unpinned.ok()) FLEXLINK_WARN("pcie: %s", unpinned.text());
}

Status PcieChannel::drain(StreamHandle stream) const { return flexlink::drain(*device_, stream); }

}  // namespace flexlink
