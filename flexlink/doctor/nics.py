# SPDX-License-Identifier: Apache-2.0
"""Which NICs FlexLink takes by itself, and why: pure functions of what the kernel says of them.

The core has the same rules in native/src/base (interfaces.cc: the bootstrap; nic_places.cc: data);
tests/data/nic_cases.txt holds both to them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flexlink.doctor.netlink import Address, Link

UP, LOOPBACK, POINT_TO_POINT, RUNNING = 0x1, 0x8, 0x10, 0x40  # IFF_*

YES, PEER, NO = "yes", "peer", "no"

# rtnetlink's kind: (our word, why such an interface is never taken by itself)
_VIRTUAL = {
    "bridge": ("bridge", "a bridge: its ports or containers share it"),
    "openvswitch": ("bridge", "a bridge: its ports or containers share it"),
    "tun": ("tun", "a tunnel or VPN"),
    "wireguard": ("vpn", "a VPN"),
    "ppp": ("vpn", "a VPN"),
    "vxlan": ("overlay", "an overlay network over another NIC"),
    "geneve": ("overlay", "an overlay network over another NIC"),
    "dummy": ("dummy", "leads nowhere"),
    "ifb": ("dummy", "only shapes the traffic of other interfaces"),
    "nlmon": ("dummy", "leads nowhere"),
    "vrf": ("vrf", "a routing table, not a NIC"),
    "vcan": ("dummy", "leads nowhere"),
}
_TUNNELS = ("gre", "gretap", "ip6gre", "ip6gretap", "ipip", "ip6tnl", "sit", "vti", "vti6")
_STACKED = {"vlan": "vlan", "macvlan": "macvlan", "macvtap": "macvlan", "ipvlan": "ipvlan"}
_BONDS = ("bond", "team")
_BRIDGES = ("bridge", "openvswitch")
# Modules that make interfaces without telling a kind, and the host's ends of containers' cables.
_MACHINES = ("vboxnet", "vmnet")
_CABLE_ENDS = ("veth", "cali", "lxc", "cni", "cilium", "vnet", "azv")


@dataclass(frozen=True)
class Nic:
    """An interface and what /sys adds to it.

    Attributes:
        speed: in Mb/s; None where the driver does not say (virtual NICs, no carrier).
        driver: the kernel module's name, or "".
        numa: node that it is attached to, or None. wireless: it is a radio.
        parent: name of the NIC whose virtual function (SR-IOV) this is, or "".
    """

    link: Link
    speed: int | None = None
    driver: str = ""
    numa: int | None = None
    wireless: bool = False
    parent: str = ""

    @property
    def name(self) -> str:
        """The interface's name."""
        return self.link.name

    @property
    def up(self) -> bool:
        """Administratively up and with a carrier."""
        return self.link.flags & (UP | RUNNING) == UP | RUNNING


@dataclass(frozen=True)
class Wish:
    """What the user asked for: the values of NCCL's variables, "" where they are not set."""

    oob_ifname: str = ""
    socket_ifname: str = ""
    family: str = ""  # AF_INET or AF_INET6
    links: str = ""  # FLEXLINK_LINKS

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Wish:
        """The wish in an environment."""
        names = ("NCCL_OOB_NET_IFNAME", "NCCL_SOCKET_IFNAME", "NCCL_SOCKET_FAMILY")
        return cls(*(env.get(name, "") for name in (*names, "FLEXLINK_LINKS")))

    @property
    def data_nics(self) -> tuple[str, ...]:
        """The NICs that FLEXLINK_LINKS names, in its order; what it has wrong is link_problem's."""
        parts = (part.strip(" \t").partition(":") for part in self.links.split(","))
        return tuple(name for kind, _, name in parts if kind == "tcp" and name)

    @property
    def named_by(self) -> str:
        """The variable by which the user names the NICs for data, or "": good sense chooses."""
        if self.data_nics:
            return "FLEXLINK_LINKS"
        named = self.socket_ifname and not self.socket_ifname.startswith("^")
        return "NCCL_SOCKET_IFNAME" if named else ""


@dataclass(frozen=True)
class Place:
    """Whether a NIC is in the default set: YES, PEER (if the peer is on its subnet) or NO."""

    verdict: str
    why: str
    bootstrap: bool = False  # ranks meet over it


def kind_of(nic: Nic) -> str:
    """One word: ethernet, infiniband, wifi, bond, vlan, veth, bridge, tun, vpn, loopback ..."""
    link = nic.link
    if link.flags & LOOPBACK or link.arp_type == 772:
        return "loopback"
    if link.kind in _VIRTUAL:
        return _VIRTUAL[link.kind][0]
    if link.kind in _BONDS:
        return "bond"
    if link.kind in _STACKED:
        return _STACKED[link.kind]
    if link.arp_type == 32:
        return "infiniband"
    if link.kind in _TUNNELS or link.flags & POINT_TO_POINT or link.arp_type in (512, 65534):
        return "tunnel"
    if link.name.startswith(_MACHINES):
        return "bridge"
    if nic.wireless:
        return "wifi"
    return "veth" if link.kind == "veth" else "ethernet"


def matches(pattern: str, name: str) -> bool:
    """NCCL_SOCKET_IFNAME's syntax: prefixes with commas; ^ all but these; = whole names."""
    excludes = pattern.startswith("^")
    rest = pattern.removeprefix("^")
    exact = rest.startswith("=")
    wanted = [word for word in rest.removeprefix("=").split(",") if word]
    named = any(name == word if exact else name.startswith(word) for word in wanted)
    return not wanted or named != excludes


def link_problem(links: str) -> str:
    """What is wrong with FLEXLINK_LINKS, as the core (link_wish.cc) says it; "" if nothing is."""
    if not links.strip(" \t"):
        return ""
    seen: set[str] = set()
    for part in (part.strip(" \t") for part in links.split(",")):
        kind, colon, name = part.partition(":")
        problem = (
            "is empty" if not part
            else "is there twice" if part in seen
            else "" if part == "pcie"
            else "has no kind" if not colon
            else "names an interface, and pcie has none" if kind == "pcie"
            else "is of no kind that there is (tcp, pcie)" if kind != "tcp"
            else "names no interface" if not name
            else "is longer than an interface's name" if len(name) > 15
            else "has a character that no interface's name has" if set(name) & set(" \t/")
            else ""
        )  # fmt: skip
        if problem:
            return f"'{part}' {problem}"
        seen.add(part)
    return ""


def is_link_local(address: Address) -> bool:
    """169.254.0.0/16 and fe80::/10: the same subnet on every NIC, so it tells nothing."""
    return ipaddress.ip_address(address.ip).is_link_local


def subnet(address: Address) -> str:
    """The network of an address: 192.0.2.0/24."""
    return str(ipaddress.ip_network(f"{address.ip}/{address.prefix}", strict=False))


def addresses(nic: Nic, wish: Wish) -> list[Address]:
    """Those of the wished family: IPv4 first, then global IPv6, then link-local."""
    wanted = {"AF_INET": (4,), "AF_INET6": (6,)}.get(wish.family, (4, 6))
    ips = [(ipaddress.ip_address(a.ip).version, a) for a in nic.link.addresses]
    kept = [(version, a) for version, a in ips if version in wanted]
    return [a for _, a in sorted(kept, key=lambda pair: (is_link_local(pair[1]), pair[0]))]


def _virtual_reason(nic: Nic) -> str:
    """Why good sense never takes such an interface; "" where it does."""
    link = nic.link
    if link.kind in _VIRTUAL:
        return _VIRTUAL[link.kind][1]
    if link.name.startswith(_MACHINES):
        return "a network of virtual machines on this host"
    if kind_of(nic) == "tunnel":
        return "a tunnel or VPN"
    if link.kind in ("veth", "macvtap") and link.name.startswith(_CABLE_ENDS):
        return "this host's end of a container's cable"
    return ""


def _port_reason(nic: Nic, by_index: Mapping[int, Nic]) -> str:
    master = by_index.get(nic.link.master)
    if nic.link.master == 0 or (master is not None and master.link.kind == "vrf"):
        return ""
    name = master.name if master is not None else f"interface {nic.link.master}"
    if master is not None and master.link.kind in _BRIDGES:
        return f"a port of the bridge {name}"
    return f"a port of {name}, which counts once"


def _exclusion(nic: Nic, wish: Wish, by_index: Mapping[int, Nic]) -> str:
    """Why a NIC is out whatever the others are; "" where it is not."""
    pattern, data = wish.socket_ifname, wish.data_nics
    wished = nic.name in data if data else matches(pattern, nic.name)
    if kind_of(nic) == "loopback" and not (wish.named_by and wished):
        return "loopback: never leaves this machine"
    if not wished:
        return f"{'FLEXLINK_LINKS' if data else f'NCCL_SOCKET_IFNAME={pattern}'} leaves it out"
    reason = _port_reason(nic, by_index) or ("" if wish.named_by else _virtual_reason(nic))
    if reason:
        return reason
    if not nic.link.flags & UP:
        return "down"
    if not nic.up:
        return "no carrier"
    found = addresses(nic, wish)
    if not found:
        return f"no {'address of ' + wish.family if wish.family else 'address'}"
    return "only a link-local address" if is_link_local(found[0]) else ""


def bootstrap_of(nics: Sequence[Nic], wish: Wish) -> Nic | None:
    """The NIC over which ranks meet, as the core chooses it; None: nothing is up and wished."""
    pattern = wish.oob_ifname or wish.socket_ifname
    fit = [nic for nic in nics if nic.up and addresses(nic, wish) and matches(pattern, nic.name)]
    named = bool(pattern) and not pattern.startswith("^")

    def rank(nic: Nic) -> int:
        if kind_of(nic) == "loopback":
            return 5
        if _virtual_reason(nic):
            return 4
        if is_link_local(addresses(nic, wish)[0]):
            return 3
        return 1 if nic.name.startswith("ib") else 2

    return min(fit, key=lambda nic: 0 if named else rank(nic), default=None)


def wire_of(nic: Nic, nics: Sequence[Nic]) -> str:
    """Name of the NIC whose wire it uses: its own, or of the one below a vlan, macvlan or VF."""
    by_index = {other.link.index: other for other in nics}
    for _ in nics:  # stacks are finite; a damaged list need not be
        below = by_index.get(nic.link.lower)
        if nic.link.kind not in _STACKED or nic.link.lower_elsewhere or below is None:
            break
        nic = below
    master = by_index.get(nic.link.master)
    if master is not None and master.link.kind in _BONDS:
        nic = master
    return nic.parent or nic.name


def classify(nics: Sequence[Nic], wish: Wish) -> list[Place]:
    """The place of each NIC in the default set, in the order given."""
    by_index = {nic.link.index: nic for nic in nics}
    first = bootstrap_of(nics, wish)
    reasons = {nic.name: _exclusion(nic, wish, by_index) for nic in nics}
    near = {subnet(a) for a in (addresses(first, wish) if first else []) if not is_link_local(a)}
    # The one that stands for its wire: the bootstrap's, else the lowest of a stack.
    stands: dict[str, str] = {}
    usable = [nic for nic in nics if not reasons[nic.name]]
    for nic in sorted(usable, key=lambda n: (n is not first, n.name != wire_of(n, nics))):
        stands.setdefault(wire_of(nic, nics), nic.name)
    places = []
    for nic in nics:
        why, is_first = reasons[nic.name], nic is first
        if why:
            only = "; ranks meet over it" if is_first else ""
            if only and not wish.data_nics:
                only += ", as there is no other"
            places.append(Place(NO, why + only, is_first))
            continue
        holder = stands[wire_of(nic, nics)]
        nets = [subnet(a) for a in addresses(nic, wish) if not is_link_local(a)]
        shared = [net for net in nets if net in near]
        if holder != nic.name and not wish.data_nics:
            places.append(Place(NO, f"the same NIC as {holder}, which counts once"))
        elif is_first:
            places.append(Place(YES, "ranks meet over it", True))
        elif shared:
            places.append(Place(YES, f"on the bootstrap's subnet {shared[0]}"))
        elif wish.named_by:
            places.append(Place(YES, f"{wish.named_by} names it"))
        else:
            places.append(Place(PEER, f"if the peer is on {' or '.join(nets)} too"))
    return places
