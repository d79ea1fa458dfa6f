// SPDX-License-Identifier: Apache-2.0
// Whether lanes of ours may carry a part of the calls that pass through. Pure.
#pragma once

namespace flexlink {

struct PassedLaneFacts {
  bool beside = false;         // FLEXLINK_LANES names the vendor and others
  bool fixed = false;          // with a part for each
  bool deterministic = false;  // FLEXLINK_DETERMINISTIC: shares must not follow times
  bool pinned = false;  // the user has set NCCL_ALGO or NCCL_PROTO: he wants the vendor's own
};

// Why the vendor must carry all of them; null: lanes beside it may carry a part.
constexpr const char* whyVendorAlone(const PassedLaneFacts& facts) {
  if (!facts.beside) return "no lane beside it";
  if (facts.pinned) return "NCCL_ALGO or NCCL_PROTO is set";
  if (facts.deterministic && !facts.fixed) {
    return "FLEXLINK_DETERMINISTIC wants parts in FLEXLINK_LANES, as in vendor:3,memory:1";
  }
  return nullptr;
}

}  // namespace flexlink
