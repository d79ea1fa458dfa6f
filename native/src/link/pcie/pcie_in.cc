// SPDX-License-Identifier: Apache-2.0
#include "link/pcie/pcie_in.h"

#include <utility>

#include "link/pcie/pcie_words.h"

namespace flexlink {

PcieIn::PcieIn(const PcieChannel& channel, LinkEvents events)
    : channel_(channel),
      events_(std::move(events)),
      counters_(channel.segment().head().directions[1 - channel.side()]),
      headers_(channel.segment().head().headers[1 - channel.side()]) {}

Status PcieIn::move(bool* moved) {
  FLEXLINK_TRY(takeHeaders(moved));
  FLEXLINK_TRY(copySome(moved));
  if (flying()) (void)channel_.device().drive();
  land(moved);
  return {};
}

// Not more than there are places, so that what is not there yet is bounded.
Status PcieIn::takeHeaders(bool* moved) {
  const uint64_t posted = loadWord(counters_.posted);
  if (posted - taken_ > kPcieHeaders) {
    return makeStatus(Code::kRemote, "the peer's counters make no sense");
  }
  while (taken_ != posted && frames_.size() < kPcieHeaders) {
    const FrameHeader header = headers_[taken_ % kPcieHeaders];
    if (!isSane(header)) {
      return makeStatus(Code::kRemote, "what arrives is not FlexLink's wire version %d",
                        kWireVersion);
    }
    storeWord(counters_.taken, ++taken_);
    frames_.push_back({header, header.length == 0 ? nullptr : events_.place(header)});
    *moved = true;
  }
  return {};
}

Status PcieIn::copySome(bool* moved) {
  const size_t ring = channel_.segment().ringBytes();
  const uint64_t there = loadWord(counters_.full) - at_;
  if (there > ring) return makeStatus(Code::kRemote, "the peer's counters make no sense");
  const uint64_t full = at_ + there;
  for (size_t budget = kPcieBudget; whole_ < frames_.size() && budget != 0;) {
    Frame& frame = frames_[whole_];
    if (frame.copied < frame.header.length) {
      const PciePiece piece = pieceAt(at_, frame.header.length - frame.copied, ring);
      // Only what the CPU has seen to be there is enqueued: see PcieOut::copySome.
      if (piece.end > full) return {};
      FLEXLINK_TRY(copyPiece(&frame, piece));
      budget -= std::min(budget, piece.bytes);
      *moved = true;
    }
    if (frame.copied < frame.header.length) continue;
    frame.end = at_;
    ++whole_;
  }
  return {};
}

Status PcieIn::copyPiece(Frame* frame, const PciePiece& piece) {
  Device& device = channel_.device();
  if (frame->target != nullptr) {
    const uint8_t* slot = channel_.segment().ring(1 - channel_.side()) + piece.offset;
    FLEXLINK_TRY(
        device.copy(channel_.inStream(), frame->target + frame->copied, slot, piece.bytes));
  }
  FLEXLINK_TRY(device.writeValue(channel_.inStream(), &counters_.empty, piece.end));
  frame->copied += piece.bytes;
  at_ = piece.end;
  return {};
}

// Whoever is told may call keepOff().
void PcieIn::land(bool* moved) {
  const uint64_t empty = loadWord(counters_.empty);
  while (whole_ != 0 && empty >= frames_.front().end) {
    const FrameHeader header = frames_.front().header;
    frames_.pop_front();
    --whole_;
    *moved = true;
    events_.arrived(header);
  }
}

bool PcieIn::flying() const { return loadWord(counters_.empty) < at_; }

Status PcieIn::keepOff(const void* begin, size_t bytes) {
  bool wait = false;
  for (Frame& frame : frames_) {
    if (frame.target == nullptr || !overlap(frame.target, frame.header.length, begin, bytes)) {
      continue;
    }
    wait = wait || frame.copied != 0;
    frame.target = nullptr;
  }
  return wait ? channel_.drain(channel_.inStream()) : Status();
}

}  // namespace flexlink
