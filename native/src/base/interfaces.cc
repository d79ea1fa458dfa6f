// SPDX-License-Identifier: Apache-2.0
// Reads the kernel's interfaces and chooses among them by NCCL's patterns.
#include "base/interfaces.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <string_view>

#include "base/settings.h"

namespace flexlink {
namespace {

int prefixLengthOf(const sockaddr* mask, int family) {
  if (mask == nullptr) return family == AF_INET ? 32 : 128;
  // getifaddrs gives a mask the family of its address; count its ones.
  sockaddr_storage storage{};
  const size_t offset =
      family == AF_INET ? offsetof(sockaddr_in, sin_addr) : offsetof(sockaddr_in6, sin6_addr);
  const size_t bytes = family == AF_INET ? 4 : 16;
  memcpy(&storage, mask, offset + bytes);
  const auto* raw = reinterpret_cast<const uint8_t*>(&storage) + offset;
  int bits = 0;
  for (size_t i = 0; i < bytes; ++i) bits += __builtin_popcount(raw[i]);
  return bits;
}

struct Pattern {
  bool excludes = false;
  bool exact = false;
  std::vector<std::string_view> names;

  bool matches(std::string_view name) const {
    const bool named = std::any_of(names.begin(), names.end(), [&](std::string_view wanted) {
      return exact ? name == wanted : name.starts_with(wanted);
    });
    return names.empty() || named != excludes;
  }
};

Pattern parsePattern(std::string_view text) {
  Pattern pattern;
  if (text.starts_with('^')) {
    pattern.excludes = true;
    text.remove_prefix(1);
  }
  if (text.starts_with('=')) {
    pattern.exact = true;
    text.remove_prefix(1);
  }
  while (!text.empty()) {
    const std::string_view name = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), name.size() + 1));
    if (!name.empty()) pattern.names.push_back(name);
  }
  return pattern;
}

// Lower is better: which of one interface's addresses stands for it.
int addressRank(const Interface& interface) {
  if (interface.address.family() == AF_INET) return 0;
  return interface.address.isLinkLocal() ? 2 : 1;
}

bool isNear(const Interface& interface, const SocketAddress& root) {
  return interface.address.sameSubnet(root, interface.prefixLength);
}

// Lower is better, without a wish of the user; IPoIB first, as in NCCL.
int interfaceRank(const Interface& interface, const SocketAddress& root) {
  if (isNear(interface, root)) return 0;
  if (interface.loopback) return 5;
  if (isVirtualInterface(interface)) return 4;
  if (interface.address.isLinkLocal()) return 3;
  return interface.name.starts_with("ib") ? 1 : 2;
}

const char* familyWord(int family) {
  return family == AF_INET    ? " with an IPv4 address"
         : family == AF_INET6 ? " with an IPv6 address"
                              : "";
}

Status nothingMatches(const std::vector<Interface>& interfaces, const InterfaceWish& wish) {
  const bool oob = !wish.oobIfname.empty();
  const std::string& pattern = oob ? wish.oobIfname : wish.socketIfname;
  const std::string there = interfaces.empty() ? "none" : interfaceList(interfaces);
  if (pattern.empty()) {
    return makeStatus(wish.family == AF_UNSPEC ? Code::kSystem : Code::kInvalidUsage,
                      "no network interface%s is up; there are: %s%s", familyWord(wish.family),
                      there.c_str(), wish.family == AF_UNSPEC ? "" : "; NCCL_SOCKET_FAMILY is set");
  }
  return makeStatus(
      Code::kInvalidUsage,
      "%s=%s matches no interface%s that is up; there are: %s; correct it or unset it",
      oob ? "NCCL_OOB_NET_IFNAME" : "NCCL_SOCKET_IFNAME", pattern.c_str(), familyWord(wish.family),
      there.c_str());
}

}  // namespace

Result<std::vector<Interface>> listInterfaces() {
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) {
    return makeStatus(Code::kSystem, "getifaddrs: %s", strerror(errno));
  }
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(first, &freeifaddrs);
  std::vector<Interface> interfaces;
  for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    const int family = entry->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    FLEXLINK_TRY_ASSIGN(const SocketAddress address,
                        SocketAddress::fromSockaddr(entry->ifa_addr, SocketAddress::kBytes));
    Interface interface;
    interface.name = entry->ifa_name;
    interface.address = address;
    interface.prefixLength = prefixLengthOf(entry->ifa_netmask, family);
    interface.index = if_nametoindex(entry->ifa_name);
    interface.up = (entry->ifa_flags & IFF_UP) != 0 && (entry->ifa_flags & IFF_RUNNING) != 0;
    interface.loopback = (entry->ifa_flags & IFF_LOOPBACK) != 0;
    interface.pointToPoint = (entry->ifa_flags & IFF_POINTOPOINT) != 0;
    interfaces.push_back(std::move(interface));
  }
  return interfaces;
}

std::vector<Interface> selectInterfaces(const std::vector<Interface>& interfaces,
                                        const std::string& pattern, int family) {
  const Pattern wanted = parsePattern(pattern);
  std::vector<Interface> selected;
  for (const Interface& candidate : interfaces) {
    const bool fits = family == AF_UNSPEC || candidate.address.family() == family;
    if (!candidate.up || !fits || !wanted.matches(candidate.name)) continue;
    const auto same = std::find_if(selected.begin(), selected.end(), [&](const Interface& other) {
      return other.name == candidate.name;
    });
    if (same == selected.end()) {
      selected.push_back(candidate);
    } else if (addressRank(candidate) < addressRank(*same)) {
      *same = candidate;
    }
  }
  return selected;
}

bool matchesPattern(const std::string& pattern, const std::string& name) {
  return parsePattern(pattern).matches(name);
}

bool isVirtualInterface(const Interface& interface) {
  if (interface.pointToPoint && !interface.loopback) return true;
  constexpr std::string_view kPrefixes[] = {
      "docker",  "podman", "br-",    "virbr",    "vnet", "vmnet",     "vboxnet", "veth", "cni",
      "flannel", "cali",   "cilium", "lxc",      "lxd",  "kube",      "tun",     "tap",  "utun",
      "wg",      "ppp",    "vpn",    "nordlynx", "zt",   "tailscale", "dummy",   "gre",  "sit",
  };
  return std::any_of(std::begin(kPrefixes), std::end(kPrefixes),
                     [&](std::string_view prefix) { return interface.name.starts_with(prefix); });
}

Result<Interface> chooseBootstrapInterface(const std::vector<Interface>& interfaces,
                                           const InterfaceWish& wish) {
  const std::string& pattern = wish.oobIfname.empty() ? wish.socketIfname : wish.oobIfname;
  const auto candidates = selectInterfaces(interfaces, pattern, wish.family);
  if (candidates.empty()) return nothingMatches(interfaces, wish);
  // Naming interfaces is a wish for them; excluding some leaves the rest to good sense.
  const bool named = !pattern.empty() && !pattern.starts_with('^');
  const auto rank = [&](const Interface& interface) {
    return named ? !isNear(interface, wish.root) : interfaceRank(interface, wish.root);
  };
  return *std::min_element(
      candidates.begin(), candidates.end(),
      [&](const Interface& a, const Interface& b) { return rank(a) < rank(b); });
}

Result<Interface> bootstrapInterface() {
  const Settings& wishes = settings();
  InterfaceWish wish{wishes.oobIfname, wishes.socketIfname, socketFamily(), {}};
  if (Result<SocketAddress> root = parse(wishes.commId); root.ok()) wish.root = root.value();
  FLEXLINK_TRY_ASSIGN(const std::vector<Interface> interfaces, listInterfaces());
  return chooseBootstrapInterface(interfaces, wish);
}

int socketFamily() {
  const std::string& family = settings().socketFamily;
  return family == "AF_INET" ? AF_INET : family == "AF_INET6" ? AF_INET6 : AF_UNSPEC;
}

std::string interfaceList(const std::vector<Interface>& interfaces) {
  std::string text;
  for (const Interface& interface : interfaces) {
    text += (text.empty() ? "" : ", ") + interface.name + " " + interface.address.host() +
            (interface.up ? "" : " (down)");
  }
  return text;
}

}  // namespace flexlink
