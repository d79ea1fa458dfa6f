// SPDX-License-Identifier: Apache-2.0
// The shared memory of one rank in one communicator: written by that rank, read by its peers (each
// rank has its own, so that a late or mad peer can only spoil its own words). Layout only.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace flexlink {

inline constexpr size_t kLine = 64;
inline constexpr size_t kInlineBytes = 32;        // payload that travels in the entry's own line
inline constexpr size_t kEntryPayload = 4096;     // payload that travels beside it
inline constexpr size_t kEagerCapacity = 262144;  // payload that travels in the eager ring
// A line that peers have read is cheap to write again only when it has left their caches. So larger
// payloads wander through memory larger than a second-level cache (perf/README.md, "Handing over").
inline constexpr size_t kEagerRingBytes = 2 << 20;
inline constexpr size_t kCellBytes = 16384;  // of a point-to-point ring, header included
inline constexpr int kCells = 4;             // 64 KiB for each peer
inline constexpr int kSignals = 64;          // contexts x indices, for each peer
constexpr size_t wholeLines(size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }
inline constexpr uint32_t kSegmentMagic = 0x464c5347;  // "FLSG"

// First line of an entry: with `stamp` all other words of the entry are published.
struct alignas(kLine) EntryHead {
  std::atomic<uint64_t>
      stamp;           // number of the collective + 1; seq_cst by the owner, acquire by peers
  uint64_t signature;  // packSignature()
  uint64_t count;
  uint64_t scalar;
  uint8_t payload[kInlineBytes];
};
static_assert(sizeof(EntryHead) == kLine);

// Where the owner's buffers are, for peers that can reach them.
struct alignas(kLine) EntryBuffers {
  uint64_t sendAddress;
  uint64_t recvAddress;
  uint64_t sendOffset;
  uint64_t recvOffset;
  uint32_t sendRegion;  // 0: in no region
  uint32_t recvRegion;
  uint32_t inPlaceWhole;  // send == recv
  uint32_t way;           // rank 0's choice: kWayPlain...
};
static_assert(sizeof(EntryBuffers) == kLine);

struct Entry {
  EntryHead head;
  EntryBuffers buffers;
  alignas(kLine) uint8_t payload[kEntryPayload];
};

// A rank's last word. Written once, before `set` (release); read after it (acquire).
struct ErrorBoard {
  std::atomic<uint32_t> set;
  int32_t code;
  char text[504];
};

struct CellHeader {
  uint64_t signature;
  uint64_t bytes;         // of the whole message
  uint64_t payloadBytes;  // in this cell
  uint64_t address;
  uint64_t offset;
  uint32_t region;
  uint32_t mode;  // CellMode
};

struct Cell {
  alignas(kLine) CellHeader header;
  alignas(kLine) uint8_t payload[kCellBytes - kLine];
};
static_assert(sizeof(Cell) == kCellBytes);
inline constexpr size_t kCellPayload = sizeof(Cell::payload);

// What the owner says to one peer. Each word has one writer: the owner of the segment.
struct PairLines {
  alignas(kLine) std::atomic<uint64_t> produced;  // cells sent to the peer; seq_cst, acquire there
  alignas(
      kLine) std::atomic<uint64_t> consumed;  // cells taken from the peer; seq_cst, acquire there
  std::atomic<uint32_t>
      attaches;  // 1: the owner may read that peer's memory; release, acquire there
  alignas(kLine) std::atomic<uint64_t> signals[kSignals];  // signals sent to the peer, ever growing
};

struct SegmentHeader {
  uint32_t magic;
  uint32_t rank;
  uint64_t selfAddress;  // of this header in the owner's address space: tests cross-memory attach
  alignas(
      kLine) std::atomic<uint64_t> clock;  // steps done, ever growing; seq_cst, acquire by peers
  alignas(kLine) std::atomic<uint32_t> closed;  // 1: the owner has left in an orderly way
  std::atomic<uint32_t> apart;  // 1: the owner's device reads no memory of its peers any more
  alignas(kLine) ErrorBoard error;
  Entry entries[2];  // by number of the collective, odd and even
};

// Sizes and places that depend on the number of ranks. The same on all ranks.
struct SegmentLayout {
  int ranks = 0;
  size_t poolBytes = 0;  // staging

  static constexpr size_t page(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }
  size_t pairsAt() const { return page(sizeof(SegmentHeader)); }
  size_t ringsAt() const {
    return page(pairsAt() + sizeof(PairLines) * static_cast<size_t>(ranks));
  }
  size_t poolAt() const { return ringsAt() + kCellBytes * kCells * static_cast<size_t>(ranks); }
  size_t eagerRingAt() const { return poolAt() + page(poolBytes); }
  size_t stagingBytes() const { return page(poolBytes) + kEagerRingBytes; }  // pool and eager ring
  size_t bytes() const { return poolAt() + stagingBytes(); }
};

// Staging memory of one rank that lies on a device, instead of in its segment: the pool, and the
// cells' payloads.
struct DeviceStaging {
  static constexpr size_t kCellPayload = 512 << 10;  // what is enqueued costs, not bytes
  int ranks = 0;
  size_t poolBytes = 0;

  size_t cellsAt() const { return SegmentLayout::page(poolBytes); }
  size_t cellAt(int peer, uint64_t number) const {
    return cellsAt() + (static_cast<size_t>(peer) * kCells + number % kCells) * kCellPayload;
  }
  size_t bytes() const { return cellsAt() + kCellPayload * kCells * static_cast<size_t>(ranks); }
};

// Typed view of a mapped segment.
class Segment {
 public:
  Segment() = default;
  Segment(void* base, SegmentLayout layout) : base_(static_cast<uint8_t*>(base)), layout_(layout) {}

  SegmentHeader& header() const { return *reinterpret_cast<SegmentHeader*>(base_); }
  PairLines& pair(int peer) const {
    return reinterpret_cast<PairLines*>(base_ + layout_.pairsAt())[peer];
  }
  Cell& cell(int peer, uint64_t number) const {
    auto* cells = reinterpret_cast<Cell*>(base_ + layout_.ringsAt());
    return cells[static_cast<size_t>(peer) * kCells + number % kCells];
  }
  uint8_t* pool() const { return base_ + layout_.poolAt(); }
  uint8_t* eagerRing() const { return base_ + layout_.eagerRingAt(); }
  void* base() const { return base_; }

 private:
  uint8_t* base_ = nullptr;
  SegmentLayout layout_;
};

}  // namespace flexlink
