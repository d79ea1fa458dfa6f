// SPDX-License-Identifier: Apache-2.0
// Which lanes may carry a call that passes through. Pure.
#pragma once

namespace flexlink {

struct PassedLaneFacts {
  bool beside = false;     // there are lanes beside the vendor
  bool pinned = false;     // the user has set NCCL_ALGO or NCCL_PROTO: he wants the vendor's own
  bool capturing = false;  // into a graph, which replays only what is on the stream
};

// Why the vendor must carry all of it; null: lanes beside it may carry a part.
constexpr const char* whyVendorAlone(const PassedLaneFacts& facts) {
  if (facts.pinned) return "NCCL_ALGO or NCCL_PROTO is set";
  if (!facts.beside) return "no lane beside it";
  if (facts.capturing) return "the stream is captured into a graph";
  return nullptr;
}

}  // namespace flexlink
