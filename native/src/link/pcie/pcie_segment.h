// SPDX-License-Identifier: Apache-2.0
// The host memory that the two ends of a pcie link share: for each direction a ring of headers, a
// ring of bytes, and the counters that say what of it is there. Layout, and who owns it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "base/status.h"
#include "device/device.h"
#include "link/frame_header.h"

namespace flexlink {

inline constexpr uint32_t kPcieMagic = 0x50584c46;  // "FLXP"
inline constexpr uint32_t kPcieVersion = 1;
inline constexpr uint64_t kPcieHeaders = 256;  // of one direction, at most
inline constexpr size_t kPcieLine = 64;
// Of the bytes of one direction. In measurements of others a copy engine is at its best with 4 MiB
// at a time; two of these are under way at once.
inline constexpr size_t kPcieRingBytes = 8 << 20;
inline constexpr size_t kPcieLeastRing = 2 * kPcieLine;
inline constexpr size_t kPcieMostRing = 256 << 20;

// All of them only grow, and each has one writer. Accessed as std::atomic_ref, for a device writes
// some of them.
struct PcieDirection {
  // Headers. Release by the sender's CPU, acquire by the receiver's: then the header is there.
  alignas(kPcieLine) uint64_t posted;
  // Release by the receiver's CPU, acquire by the sender's: then its place is free.
  alignas(kPcieLine) uint64_t taken;
  // Bytes of the ring since its start. Written by the sender's stream behind its copy, acquire by
  // the receiver's CPU: then the bytes are there.
  alignas(kPcieLine) uint64_t full;
  // Written by the receiver's stream behind its copy, acquire by the sender's CPU: then the bytes
  // may be overwritten. The receiver's own CPU sees by it that they have arrived.
  alignas(kPcieLine) uint64_t empty;
};

struct PcieSide {
  // 1: who polls this side is about to sleep and wants to be woken. seq_cst against the counters
  // above: a sleeper sets it and looks once more, a writer writes and then looks at it.
  alignas(kPcieLine) uint32_t asleep;
  // 1: nothing more comes from this side. Release behind its last counter, acquire by the other.
  alignas(kPcieLine) uint32_t closed;
};

struct PcieHead {
  uint32_t magic;
  uint32_t version;
  uint64_t ringBytes;
  PcieDirection directions[2];  // by the side that sends
  PcieSide sides[2];
  alignas(kPcieLine) FrameHeader headers[2][kPcieHeaders];
};

// The bytes of a direction are cut alike on both sides.
struct PciePiece {
  size_t offset;  // in the ring
  size_t bytes;
  uint64_t end;  // where the next one starts, counted from the start of the link
};
inline PciePiece pieceAt(uint64_t at, size_t rest, size_t ringBytes) {
  const size_t offset = at % ringBytes;
  const size_t bytes = std::min({rest, ringBytes / 2, ringBytes - offset});
  return {offset, bytes, at + (bytes + kPcieLine - 1) / kPcieLine * kPcieLine};
}

// A view of the memory, and a share in it.
class PcieSegment {
 public:
  // Fresh memory near the device, for the side 0. `ringBytes`: a multiple of kPcieLine.
  static Result<PcieSegment> make(const Device& device, size_t ringBytes);

  // What side 0 has made and this process has mapped; it is checked. `memory` keeps it mapped.
  static Result<PcieSegment> view(std::shared_ptr<void> memory, void* base, size_t bytes);

  PcieHead& head() const { return *static_cast<PcieHead*>(base_); }
  uint8_t* ring(int direction) const;
  size_t ringBytes() const { return ringBytes_; }
  void* base() const { return base_; }
  size_t bytes() const { return bytesFor(ringBytes_); }

 private:
  static size_t bytesFor(size_t ringBytes);

  std::shared_ptr<void> memory_;
  void* base_ = nullptr;
  size_t ringBytes_ = 0;  // as checked: what stands in the memory may change
};

// What one end has of it: the memory pinned, and two streams that copy.
class PcieChannel {
 public:
  static Result<std::unique_ptr<PcieChannel>> open(std::shared_ptr<Device> device,
                                                   PcieSegment segment, int side);
  PcieChannel(const PcieChannel&) = delete;
  PcieChannel& operator=(const PcieChannel&) = delete;
  ~PcieChannel();

  Device& device() const { return *device_; }
  const PcieSegment& segment() const { return segment_; }
  int side() const { return side_; }
  StreamHandle outStream() const { return out_; }
  StreamHandle inStream() const { return in_; }

  // Until the stream is through. That takes as long as the copies that are enqueued, for no stream
  // of a link waits for a peer; the error says that it took much longer.
  Status drain(StreamHandle stream) const;

 private:
  PcieChannel(std::shared_ptr<Device> device, PcieSegment segment, int side)
      : device_(std::move(device)), segment_(std::move(segment)), side_(side) {}

  const std::shared_ptr<Device> device_;
  const PcieSegment segment_;
  const int side_;
  bool pinned_ = false;
  StreamHandle out_ = nullptr;
  StreamHandle in_ = nullptr;
};

}  // namespace flexlink
