// SPDX-License-Identifier: Apache-2.0
// What is in the 128 bytes of an ncclUniqueId: the vendor's 40 bytes, then ours. Pure.
#pragma once

#include <string>

#include "base/socket.h"
#include "base/status.h"
#include "device/host/exchange.h"
#include "flexlink/nccl.h"

namespace flexlink {

struct UniqueId {
  SocketAddress address;
  Cookie cookie{};
};

ncclUniqueId packUniqueId(const UniqueId& id);
Result<UniqueId> unpackUniqueId(const ncclUniqueId& packed);

// A cookie that follows from another and some numbers: whoever has the first can make it.
Cookie deriveCookie(const Cookie& from, uint64_t a, uint64_t b);
// For NCCL_COMM_ID, where no cookie travels: made of FLEXLINK_SECRET and the address.
Cookie cookieFromSecret(const std::string& secret, const std::string& address);
// A number for people and probes; tells nothing of the cookie.
uint64_t publicHash(const Cookie& cookie);

}  // namespace flexlink
