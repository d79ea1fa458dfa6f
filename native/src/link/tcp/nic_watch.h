// SPDX-License-Identifier: Apache-2.0
// Tells when a NIC of this host goes down or comes back. TCP does not: a connection over a NIC that
// is down waits for minutes.
#pragma once

#include <functional>
#include <string>

#include "base/reactor.h"
#include "base/status.h"

namespace flexlink {

// From now on, `changed` is called on the control thread whenever the kernel has something to say
// of a NIC: its name, and whether it is up and has a carrier. Once for each process.
Status watchNics(Reactor* reactor, std::function<void(const std::string& nic, bool up)> changed);

}  // namespace flexlink
