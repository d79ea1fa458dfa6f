// SPDX-License-Identifier: Apache-2.0
// FLEXLINK_LINKS: which links the user wants, in which order. Reading the text only; whether there
// is such a NIC is seen where NICs are chosen (nic_pairs.h).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace flexlink {

enum class LinkKind { kTcp, kPcie };

struct LinkName {
  LinkKind kind = LinkKind::kTcp;
  std::string nic;  // kTcp: the whole name of an interface
  bool operator==(const LinkName&) const = default;
};

// "tcp:eth0,tcp:eth1,pcie"; "": none is named. The error says which part is wrong and what is
// expected.
Result<std::vector<LinkName>> parseLinks(std::string_view text);

}  // namespace flexlink
