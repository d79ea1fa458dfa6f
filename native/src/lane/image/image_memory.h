// SPDX-License-Identifier: Apache-2.0
// Where images of a GPU's memory lie: pinned memory of the host, and a stream for each direction
// between the two.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <utility>

#include "lane/copy_stream.h"
#include "lane/image/image_plan.h"

namespace flexlink {

// Copies in one direction, and how far they are. One thread at a time.
class ImageStream {
 public:
  // `counter`: in pinned memory, zero.
  ImageStream(std::unique_ptr<CopyStream> copies, std::atomic<uint64_t>* counter)
      : copies_(std::move(copies)), counter_(counter) {}

  void copy(void* to, const void* from, size_t bytes) { copies_->copy(to, from, bytes); }

  // What stands for all that was enqueued until now.
  uint64_t mark() {
    copies_->publish(*counter_, ++marks_);
    return marks_;
  }

  // Is all of that done? Acquire: with its effects.
  bool reached(uint64_t mark) const { return counter_->load(std::memory_order_acquire) >= mark; }

  bool idle() const { return reached(marks_); }

  // As CopyStream::drive(), once for each poll, before reached() counts.
  Status drive() { return idle() ? copies_->failure() : copies_->drive(); }

  void drain() { copies_->drain(); }

 private:
  const std::unique_ptr<CopyStream> copies_;
  std::atomic<uint64_t>* const counter_;
  uint64_t marks_ = 0;
};

class ImageMemory {
 public:
  // Slices of a collective under way: one comes, one is carried, one goes.
  static constexpr size_t kSlots = 3;
  // Pieces of the messages in one direction of a pair: one is carried while another comes or goes.
  static constexpr size_t kPieces = 2;

  // Allocates, pins and makes streams, each of which may wait for the GPU: set-up, and not on the
  // control thread.
  static Result<std::unique_ptr<ImageMemory>> open(std::shared_ptr<Device> device, int ranks,
                                                   ImageTuning tuning = {});
  ImageMemory(const ImageMemory&) = delete;
  ImageMemory& operator=(const ImageMemory&) = delete;
  ~ImageMemory();

  const ImageTuning& tuning() const { return tuning_; }
  uint8_t* slot(size_t slice) const { return images_ + slice % kSlots * tuning_.slotBytes; }
  // Beside the slot, for the factor of kPreMulSum.
  uint64_t* scalar(size_t slice) const;

  // `way`: as wayOf(). The same memory as the slots: never used together.
  uint8_t* piece(size_t way, size_t number) const {
    return images_ + (way * kPieces + number % kPieces) * pieceBytes_;
  }
  // Of one piece; the same on all ranks, and whole elements of every type.
  size_t pieceBytes() const { return pieceBytes_; }

  ImageStream& in() { return *in_; }    // the GPU's memory to the image
  ImageStream& out() { return *out_; }  // and back

  // Once for each poll: the first error of all copies. Says to a waiter that nobody rings for them.
  Status drive();

  // Until no copy is under way any more.
  void drain();

 private:
  explicit ImageMemory(ImageTuning tuning) : tuning_(tuning) {}

  const ImageTuning tuning_;
  void* base_ = nullptr;  // head, then images
  uint8_t* images_ = nullptr;
  size_t pieceBytes_ = 0;
  std::unique_ptr<ImageStream> in_;
  std::unique_ptr<ImageStream> out_;
};

}  // namespace flexlink
