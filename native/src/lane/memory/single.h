// SPDX-License-Identifier: Apache-2.0
// How far calls that concern one peer have come: messages, puts and signals. Layout only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/status.h"
#include "lane/batch.h"

namespace flexlink {

// One such call.
struct Single {
  uint64_t cell = 0;  // next cell of this message; bytes moved so far for direct reads
  size_t moved = 0;
  uint64_t lastCell = 0;
  bool begun = false;
  bool done = false;
  uint32_t mode = 0;
};

// Those of one batch, which the user of the lane keeps alive.
struct Singles {
  const Batch* batch = nullptr;
  uint64_t since = 0;  // ticks of the probe
  std::vector<Single> calls;
  Status lost;  // why its receive will never be answered
};

}  // namespace flexlink
