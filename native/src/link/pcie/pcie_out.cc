// SPDX-License-Identifier: Apache-2.0
#include "link/pcie/pcie_out.h"

#include <atomic>
#include <cstring>

#include "link/pcie/pcie_words.h"

namespace flexlink {

PcieOut::PcieOut(const PcieChannel& channel)
    : channel_(channel),
      counters_(channel.segment().head().directions[channel.side()]),
      headers_(channel.segment().head().headers[channel.side()]) {}

void PcieOut::post(const FrameHeader& header, const void* payload) {
  frames_.push_back({header, static_cast<const uint8_t*>(payload), {}});
}

void PcieOut::land(bool* moved) {
  const uint64_t full = loadWord(counters_.full);
  while (!flying_.empty() && full >= flying_.front().end) {
    flying_.pop_front();
    *moved = true;
  }
}

// False: the peer has not taken enough of the headers before.
bool PcieOut::announce(Frame* frame) {
  if (posted_ - loadWord(counters_.taken) >= kPcieHeaders) return false;
  headers_[posted_ % kPcieHeaders] = frame->header;
  storeWord(counters_.posted, ++posted_);
  frame->announced = true;
  return true;
}

Status PcieOut::move(bool* moved) {
  FLEXLINK_TRY(copyFrames(moved));
  if (flying_.empty()) return {};
  (void)channel_.device().drive();
  land(moved);
  return {};
}

Status PcieOut::copyFrames(bool* moved) {
  for (size_t budget = kPcieBudget; !frames_.empty() && budget != 0;) {
    Frame& frame = frames_.front();
    if (!frame.announced) {
      if (!announce(&frame)) return {};
      *moved = true;
    }
    const size_t before = frame.copied;
    FLEXLINK_TRY(copySome(&frame, &budget, moved));
    if (frame.copied == frame.header.length) {
      // What its copies read must live until they are done.
      if (!frame.own.empty()) flying_.back().own = std::move(frame.own);
      frames_.pop_front();
    } else if (frame.copied == before) {
      return {};
    }
  }
  return {};
}

// The copy is enqueued only when the CPU has seen that its place is free: a stream that waited for
// a peer could not be stopped, and would hold up who wants his memory back.
Status PcieOut::copySome(Frame* frame, size_t* budget, bool* moved) {
  const size_t ring = channel_.segment().ringBytes();
  const uint64_t held = at_ - loadWord(counters_.empty);
  if (held > ring) return makeStatus(Code::kRemote, "the peer's counters make no sense");
  const uint64_t end = at_ - held + ring;
  while (frame->copied < frame->header.length && *budget != 0) {
    const PciePiece piece = pieceAt(at_, frame->header.length - frame->copied, ring);
    if (piece.end > end) return {};
    uint8_t* slot = channel_.segment().ring(channel_.side()) + piece.offset;
    const uint8_t* from = frame->payload + frame->copied;
    Device& device = channel_.device();
    FLEXLINK_TRY(device.copy(channel_.outStream(), slot, from, piece.bytes));
    FLEXLINK_TRY(device.writeValue(channel_.outStream(), &counters_.full, piece.end));
    flying_.push_back({piece.end, from, piece.bytes, {}});
    frame->copied += piece.bytes;
    at_ = piece.end;
    *budget -= std::min(*budget, piece.bytes);
    *moved = true;
  }
  return {};
}

// Copied by the device, for it may be the device's memory.
Status PcieOut::keepOff(const void* begin, size_t bytes) {
  bool wait = false;
  for (const Flight& one : flying_) {
    wait = wait || (one.own.empty() && overlap(one.begin, one.bytes, begin, bytes));
  }
  for (Frame& frame : frames_) {
    if (!frame.own.empty() || !overlap(frame.payload, frame.header.length, begin, bytes)) continue;
    frame.own.resize(frame.header.length);
    FLEXLINK_TRY(channel_.device().copy(channel_.outStream(), frame.own.data(), frame.payload,
                                        frame.header.length));
    frame.payload = frame.own.data();
    wait = true;
  }
  return wait ? channel_.drain(channel_.outStream()) : Status();
}

}  // namespace flexlink
