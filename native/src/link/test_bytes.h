// SPDX-License-Identifier: Apache-2.0
// What goes over a link, each way, before it counts as one: bytes that both ends know. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/host/exchange.h"
#include "link/bundle.h"

namespace flexlink {

// Much more than one packet, whatever the MTU, and little beside what a link carries in a ms.
inline constexpr size_t kTestBytes = 32 << 10;

// Of one direction of one link: what was meant for another must not pass. Not of the cookie, which
// nobody who sees them shall guess.
std::vector<uint8_t> testBytes(const ProcessId& from, const ProcessId& to, LinkPlace place);

}  // namespace flexlink
