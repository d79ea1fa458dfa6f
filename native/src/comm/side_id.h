// SPDX-License-Identifier: Apache-2.0
// Where the ranks of a side communicator meet: what ncclGetUniqueId puts behind the vendor's own
// bytes, where those are zero, in pass-through. Pure.
#pragma once

#include <optional>

#include "comm/unique_id.h"

namespace flexlink {

// Adds `door` to the vendor's id and returns the cookie that opens it; none: there is no room. Of
// the vendor's own 40 bytes nobody can make the cookie: `fresh` is added, too. A copy of this
// library fills 96, with a cookie of its own in them, from which ours follows.
std::optional<Cookie> addSide(const SocketAddress& door, const Cookie& fresh, ncclUniqueId* id);

// None: rank 0 came without us.
std::optional<UniqueId> findSide(const ncclUniqueId& id);

}  // namespace flexlink
