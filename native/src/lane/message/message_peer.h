// SPDX-License-Identifier: Apache-2.0
// Whom a message lane reaches, and by what tags its messages are told apart. Layout only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "link/bundle.h"

namespace flexlink {

struct MessagePeer {
  std::shared_ptr<Bundle> bundle;  // null: this rank itself, or one that this lane does not reach
  int rank = -1;                   // in the user's communicator, for people
  std::string name;                // "rank 3 (pid 77 on host b)"
};

// Segments of collectives have the tags below. From kTagStanding on: receives that are posted
// whether or not anybody waits for them.
inline constexpr uint32_t kTagSingle = 0xfffffff0;
inline constexpr uint32_t kTagScalar = 0xfffffff1;
inline constexpr uint32_t kTagPut = 0xfffffff2;
inline constexpr uint32_t kTagStanding = 0xfffffffe;
inline constexpr uint32_t kTagNotice = 0xfffffffe;
inline constexpr uint32_t kTagFarewell = kLastTag;

}  // namespace flexlink
