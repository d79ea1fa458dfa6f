// SPDX-License-Identifier: Apache-2.0
// A collective on a GPU's memory as collectives on images of it in the host's: what is copied to
// where before, what is called, and what is copied back. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lane/batch.h"

namespace flexlink {

struct ImageTuning {
  size_t slotBytes = 8 << 20;   // of the image of one slice; whole pages
  size_t leastBytes = 1 << 20;  // of one; smaller ones are not worth what each takes to start
  size_t pieceBytes = 2 << 20;  // of a message, at most; whole pages
};

// Offsets in bytes: in the user's buffer, and in the image.
struct ImageCopy {
  size_t user = 0;
  size_t image = 0;
  size_t bytes = 0;
  friend bool operator==(const ImageCopy&, const ImageCopy&) = default;
};

struct ImageSlice {
  Call call;                   // on the image
  std::vector<ImageCopy> in;   // from Call::send of the user's call
  std::vector<ImageCopy> out;  // to its Call::recv
};

// Elements of every block that one slice takes. The same on all ranks.
size_t imageElements(const Call& call, int ranks, const ImageTuning& tuning);

// `call`: a collective that `whole` stands for; `image`: slotBytes of it.
ImageSlice imageSlice(const Call& call, int rank, int ranks, ElementRange range, const Whole* whole,
                      uint8_t* image);

}  // namespace flexlink
