// SPDX-License-Identifier: Apache-2.0
// Which NICs of one host carry data: the first half of nic_pairs.h, as in flexlink/doctor/nics.py.
#include <net/if.h>
#include <net/if_arp.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <string_view>

#include "base/nic_pairs.h"

namespace flexlink {
namespace {

bool isOneOf(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool startsWithAny(std::string_view name, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return name.starts_with(prefix); });
}

const NicFacts* factsOf(const std::vector<NicFacts>& facts, unsigned index) {
  const auto found = std::find_if(facts.begin(), facts.end(),
                                  [&](const NicFacts& nic) { return nic.index == index; });
  return found == facts.end() ? nullptr : &*found;
}

const NicFacts* factsOf(const std::vector<NicFacts>& facts, std::string_view name) {
  const auto found = std::find_if(facts.begin(), facts.end(),
                                  [&](const NicFacts& nic) { return nic.name == name; });
  return found == facts.end() ? nullptr : &*found;
}

// All addresses of one NIC.
struct Nic {
  std::string name;
  std::vector<const Interface*> addresses;  // of the wished family: IPv4, IPv6, then link-local
  const Interface* first = nullptr;         // of any family
};

std::vector<Nic> nicsOf(const std::vector<Interface>& interfaces, int family) {
  std::vector<Nic> nics;
  for (const Interface& one : interfaces) {
    auto same = std::find_if(nics.begin(), nics.end(),
                             [&](const Nic& nic) { return nic.name == one.name; });
    if (same == nics.end()) same = nics.insert(nics.end(), Nic{one.name, {}, &one});
    if (family == AF_UNSPEC || one.address.family() == family) same->addresses.push_back(&one);
  }
  const auto rank = [](const Interface* one) {
    return (one->address.isLinkLocal() ? 2 : 0) + (one->address.family() == AF_INET6 ? 1 : 0);
  };
  for (Nic& nic : nics) {
    std::stable_sort(nic.addresses.begin(), nic.addresses.end(),
                     [&](const Interface* a, const Interface* b) { return rank(a) < rank(b); });
  }
  return nics;
}

bool isNamed(const NicWish& wish) {
  return !wish.links.empty() || (!wish.socketIfname.empty() && wish.socketIfname[0] != '^');
}

bool isWished(const std::string& name, const NicWish& wish) {
  if (wish.links.empty()) return matchesPattern(wish.socketIfname, name);
  return std::any_of(wish.links.begin(), wish.links.end(),
                     [&](const LinkName& link) { return link.nic == name; });
}

bool isTunnel(const NicFacts& nic) {
  // Bonds and what is stacked on a NIC are what they are, whatever lies below.
  if (isOneOf(nic.kind, {"bond", "team", "vlan", "macvlan", "macvtap", "ipvlan"})) return false;
  if (nic.arpType == ARPHRD_INFINIBAND) return false;
  return isOneOf(nic.kind, {"gre", "gretap", "ip6gre", "ip6gretap", "ipip", "ip6tnl", "sit", "vti",
                            "vti6"}) ||
         (nic.flags & IFF_POINTOPOINT) != 0 || nic.arpType == ARPHRD_PPP ||
         nic.arpType == ARPHRD_NONE;
}

// Why good sense never takes such an interface; "" where it does.
std::string virtualReason(const Nic& nic, const NicFacts* facts) {
  if (facts == nullptr) {
    return isVirtualInterface(*nic.first) ? "its name is that of a virtual interface" : "";
  }
  const std::string& kind = facts->kind;
  if (isOneOf(kind, {"bridge", "openvswitch"})) return "a bridge: its ports or containers share it";
  if (kind == "tun") return "a tunnel or VPN";
  if (isOneOf(kind, {"wireguard", "ppp"})) return "a VPN";
  if (isOneOf(kind, {"vxlan", "geneve"})) return "an overlay network over another NIC";
  if (isOneOf(kind, {"dummy", "nlmon", "vcan"})) return "leads nowhere";
  if (kind == "ifb") return "only shapes the traffic of other interfaces";
  if (kind == "vrf") return "a routing table, not a NIC";
  if (startsWithAny(nic.name, {"vboxnet", "vmnet"})) {
    return "a network of virtual machines on this host";
  }
  if (isTunnel(*facts)) return "a tunnel or VPN";
  const bool cable =
      isOneOf(kind, {"veth", "macvtap"}) &&
      startsWithAny(nic.name, {"veth", "cali", "lxc", "cni", "cilium", "vnet", "azv"});
  return cable ? "this host's end of a container's cable" : "";
}

std::string portReason(const NicFacts* nic, const std::vector<NicFacts>& facts) {
  if (nic == nullptr || nic->master == 0) return "";
  const NicFacts* master = factsOf(facts, nic->master);
  if (master == nullptr) {
    return "a port of interface " + std::to_string(nic->master) + ", which counts once";
  }
  if (master->kind == "vrf") return "";
  if (isOneOf(master->kind, {"bridge", "openvswitch"})) {
    return "a port of the bridge " + master->name;
  }
  return "a port of " + master->name + ", which counts once";
}

// Name of the NIC whose wire it uses: its own, or of the one below.
std::string wireOf(const std::string& name, const std::vector<NicFacts>& facts) {
  const NicFacts* nic = factsOf(facts, name);
  if (nic == nullptr) return name;
  for (size_t i = 0; i < facts.size(); ++i) {  // stacks are finite; a damaged list need not be
    const NicFacts* below = factsOf(facts, nic->lower);
    const bool stacked = isOneOf(nic->kind, {"vlan", "macvlan", "macvtap", "ipvlan"});
    if (!stacked || nic->lowerElsewhere || below == nullptr) break;
    nic = below;
  }
  const NicFacts* master = factsOf(facts, nic->master);
  if (master != nullptr && isOneOf(master->kind, {"bond", "team"})) nic = master;
  return nic->parent.empty() ? nic->name : nic->parent;
}

class Placing {
 public:
  Placing(const std::vector<NicFacts>& facts, const NicWish& wish) : facts_(facts), wish_(wish) {}

  // Why a NIC is out whatever the others are; "" where it is not.
  std::string exclusion(const Nic& nic) const {
    const NicFacts* facts = factsOf(facts_, nic.name);
    const bool named = isNamed(wish_);
    const bool wished = isWished(nic.name, wish_);
    if (nic.first->loopback && !(named && wished)) return "loopback: never leaves this machine";
    if (!wished && !wish_.links.empty()) return "FLEXLINK_LINKS leaves it out";
    if (!wished) return "NCCL_SOCKET_IFNAME=" + wish_.socketIfname + " leaves it out";
    std::string reason = portReason(facts, facts_);
    if (reason.empty() && !named) reason = virtualReason(nic, facts);
    if (!reason.empty()) return reason;
    const bool enabled = facts == nullptr || (facts->flags & IFF_UP) != 0;
    if (!nic.first->up) return enabled && facts != nullptr ? "no carrier" : "down";
    if (nic.addresses.empty()) {
      return std::string("no address of ") + (wish_.family == AF_INET ? "AF_INET" : "AF_INET6");
    }
    return nic.addresses[0]->address.isLinkLocal() ? "only a link-local address" : "";
  }

 private:
  const std::vector<NicFacts>& facts_;
  const NicWish& wish_;
};

bool isAt(const Nic& nic, const SocketAddress& address) {
  return std::any_of(nic.addresses.begin(), nic.addresses.end(),
                     [&](const Interface* one) { return one->address.sameSubnet(address, 128); });
}

std::vector<std::string> subnetsOf(const Nic& nic) {
  std::vector<std::string> nets;
  for (const Interface* one : nic.addresses) {
    if (!one->address.isLinkLocal()) nets.push_back(one->address.subnet(one->prefixLength));
  }
  return nets;
}

// The one that stands for each wire: the bootstrap's, else the lowest of a stack.
std::map<std::string, std::string> standIns(std::vector<const Nic*> usable, const Nic* first,
                                            const std::vector<NicFacts>& facts) {
  const auto rank = [&](const Nic* nic) {
    return nic == first ? 0 : nic->name == wireOf(nic->name, facts) ? 1 : 2;
  };
  std::stable_sort(usable.begin(), usable.end(),
                   [&](const Nic* a, const Nic* b) { return rank(a) < rank(b); });
  std::map<std::string, std::string> holders;
  for (const Nic* nic : usable) holders.try_emplace(wireOf(nic->name, facts), nic->name);
  return holders;
}

NicPlace placeUsable(const Nic& nic, bool isFirst, const std::vector<std::string>& near,
                     const NicWish& wish) {
  const std::vector<std::string> nets = subnetsOf(nic);
  if (isFirst) return {nic.name, NicVerdict::kYes, "ranks meet over it"};
  const auto shared = std::find_first_of(nets.begin(), nets.end(), near.begin(), near.end());
  if (shared != nets.end()) {
    return {nic.name, NicVerdict::kYes, "on the bootstrap's subnet " + *shared};
  }
  if (isNamed(wish)) {
    const char* variable = wish.links.empty() ? "NCCL_SOCKET_IFNAME" : "FLEXLINK_LINKS";
    return {nic.name, NicVerdict::kYes, std::string(variable) + " names it"};
  }
  std::string list;
  for (const std::string& net : nets) list += (list.empty() ? "" : " or ") + net;
  return {nic.name, NicVerdict::kPeer, "if the peer is on " + list + " too"};
}

}  // namespace

std::vector<NicPlace> placeNics(const std::vector<Interface>& interfaces,
                                const std::vector<NicFacts>& facts, const NicWish& wish,
                                const SocketAddress& bootstrap) {
  const std::vector<Nic> nics = nicsOf(interfaces, wish.family);
  const Placing placing(facts, wish);
  const Nic* first = nullptr;
  std::map<std::string, std::string> reasons;
  std::vector<const Nic*> usable;
  for (const Nic& nic : nics) {
    if (first == nullptr && isAt(nic, bootstrap)) first = &nic;
    reasons[nic.name] = placing.exclusion(nic);
    if (reasons[nic.name].empty()) usable.push_back(&nic);
  }
  const auto holders = standIns(usable, first, facts);
  const std::vector<std::string> near =
      first != nullptr ? subnetsOf(*first) : std::vector<std::string>();
  std::vector<NicPlace> places;
  for (const Nic& nic : nics) {
    const std::string& why = reasons[nic.name];
    if (!why.empty()) {
      std::string only = &nic == first ? "; ranks meet over it" : "";
      if (&nic == first && wish.links.empty()) only += ", as there is no other";
      places.push_back({nic.name, NicVerdict::kNo, why + only});
      continue;
    }
    // Whoever names an interface and another one below it wants both.
    const std::string& holder = holders.at(wireOf(nic.name, facts));
    if (holder != nic.name && wish.links.empty()) {
      places.push_back(
          {nic.name, NicVerdict::kNo, "the same NIC as " + holder + ", which counts once"});
    } else {
      places.push_back(placeUsable(nic, &nic == first, near, wish));
    }
  }
  return places;
}

namespace {

// The addresses that peers may use, best first; link-local ones only where there is no other.
std::vector<NicAddress> addressesOf(const Nic& nic) {
  std::vector<NicAddress> found;
  for (const Interface* one : nic.addresses) {
    if (one->address.isLinkLocal() && !found.empty()) continue;
    if (found.size() < kMostNicAddresses / kMostNics) {
      found.push_back({nic.name, one->address, one->prefixLength});
    }
  }
  return found;
}

// FLEXLINK_LINKS' order, else the kernel's.
std::vector<const Nic*> inOrder(const std::vector<Nic>& nics, const NicWish& wish) {
  std::vector<const Nic*> order;
  for (const LinkName& link : wish.links) {
    for (const Nic& nic : nics) {
      if (nic.name == link.nic) order.push_back(&nic);
    }
  }
  if (wish.links.empty()) {
    for (const Nic& nic : nics) order.push_back(&nic);
  }
  return order;
}

bool isOut(const std::string& name, const std::vector<NicPlace>& places) {
  return std::any_of(places.begin(), places.end(), [&](const NicPlace& place) {
    return place.name == name && place.verdict == NicVerdict::kNo;
  });
}

NicAddress addressAt(const std::vector<Nic>& nics, const SocketAddress& bootstrap) {
  for (const Nic& nic : nics) {
    for (const Interface* one : nic.addresses) {
      if (one->address.sameSubnet(bootstrap, 128))
        return {nic.name, one->address, one->prefixLength};
    }
  }
  return {};
}

}  // namespace

Result<NicSide> offeredNics(const std::vector<Interface>& interfaces,
                            const std::vector<NicPlace>& places, const NicWish& wish,
                            const SocketAddress& bootstrap) {
  const std::vector<Nic> nics = nicsOf(interfaces, wish.family);
  NicSide side;
  side.named = isNamed(wish);
  side.bootstrap = addressAt(nics, bootstrap);
  std::vector<const Nic*> chosen = inOrder(nics, wish);
  std::erase_if(chosen, [&](const Nic* nic) { return isOut(nic->name, places); });
  if (chosen.empty() && !wish.links.empty()) {
    return makeStatus(Code::kInvalidUsage,
                      "FLEXLINK_LINKS names no interface that can be used here; there are: %s",
                      interfaceList(interfaces).c_str());
  }
  const bool none = chosen.empty();
  for (const Nic& nic : nics) {
    const bool only = none && nic.name == side.bootstrap.nic;
    const bool lo = nic.first->loopback && nic.first->up && !side.named;
    const bool there = std::find(chosen.begin(), chosen.end(), &nic) != chosen.end();
    if ((only || lo) && !there) chosen.push_back(&nic);
  }
  if (chosen.size() > kMostNics) chosen.resize(kMostNics);
  for (const Nic* nic : chosen) {
    for (NicAddress& one : addressesOf(*nic)) side.addresses.push_back(std::move(one));
  }
  return side;
}

}  // namespace flexlink
