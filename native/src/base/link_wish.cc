// SPDX-License-Identifier: Apache-2.0
#include "base/link_wish.h"

#include <net/if.h>

#include <algorithm>

namespace flexlink {
namespace {

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

Status wrong(std::string_view part, const char* why) {
  return makeStatus(Code::kInvalidUsage,
                    "FLEXLINK_LINKS: '%.*s' %s; expected KIND:NIC with commas, e.g. "
                    "tcp:eth0,tcp:eth1, or pcie",
                    static_cast<int>(std::min<size_t>(part.size(), 100)), part.data(), why);
}

Result<LinkName> parseOne(std::string_view part) {
  if (part == "pcie") return LinkName{LinkKind::kPcie, ""};
  const size_t colon = part.find(':');
  if (colon == std::string_view::npos) return wrong(part, "has no kind");
  if (part.substr(0, colon) == "pcie") return wrong(part, "names an interface, and pcie has none");
  if (part.substr(0, colon) != "tcp") return wrong(part, "is of no kind that there is (tcp, pcie)");
  LinkName link;
  link.nic = part.substr(colon + 1);
  if (link.nic.empty()) return wrong(part, "names no interface");
  if (link.nic.size() >= IF_NAMESIZE) return wrong(part, "is longer than an interface's name");
  if (link.nic.find_first_of(" \t/") != std::string::npos) {
    return wrong(part, "has a character that no interface's name has");
  }
  return link;
}

}  // namespace

Result<std::vector<LinkName>> parseLinks(std::string_view text) {
  std::vector<LinkName> links;
  if (trimmed(text).empty()) return links;
  for (;;) {
    const size_t comma = text.find(',');
    const std::string_view part = trimmed(text.substr(0, comma));
    if (part.empty()) return wrong(part, "is empty");
    FLEXLINK_TRY_ASSIGN(LinkName link, parseOne(part));
    if (std::find(links.begin(), links.end(), link) != links.end()) {
      return wrong(part, "is there twice");
    }
    links.push_back(std::move(link));
    if (comma == std::string_view::npos) return links;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace flexlink
