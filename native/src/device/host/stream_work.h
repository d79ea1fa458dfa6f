// SPDX-License-Identifier: Apache-2.0
// One piece of work that a stream on host memory does itself, as copy engines and stream memory
// operations do it on a GPU.
#pragma once

#include <cstdint>
#include <vector>

#include "device/host/kernels.h"

namespace flexlink {

struct StreamWork {
  enum class Kind : uint8_t {
    kWrite,  // *at = value
    kAwait,  // until *at >= value
    kCopy,
    kFold,
  };

  static StreamWork writeValue(uint64_t* at, uint64_t value);
  static StreamWork waitValue(const uint64_t* at, uint64_t value);
  static StreamWork copy(void* dst, const void* src, size_t bytes);
  static StreamWork fold(const FoldArgs& args);

  void write() const;    // kWrite
  bool reached() const;  // kAwait
  void perform() const;  // kCopy, kFold

  Kind kind;
  uint64_t* at = nullptr;
  uint64_t value = 0;
  size_t bytes = 0;
  // kCopy: one of each; kFold: as FoldArgs has them.
  std::vector<void*> dsts;
  std::vector<const void*> srcs;
  std::vector<uint64_t> scalars;
  FoldArgs folded{};  // but for its lists
};

}  // namespace flexlink
