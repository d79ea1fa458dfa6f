# SPDX-License-Identifier: Apache-2.0
"""Asks the kernel for the network interfaces and addresses of this network namespace.

Not /sys/class/net: in a namespace that did not mount its own /sys that shows another one's NICs.
Reading the answers is a pure function of the bytes; meaning is given to them in nics.py.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

_GETLINK, _GETADDR = 18, 22
_NEWLINK, _NEWADDR = 16, 20
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP = 0x1, 0x300
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDR = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_DEADLINE_S = 5.0
_MOST_BYTES = 1 << 24  # thousands of interfaces; a dump that goes on and on is an error

# Attributes of a link and of an address, from linux/if_link.h and linux/if_addr.h.
_ADDRESS, _IFNAME, _MTU, _LOWER, _MASTER, _OPERSTATE, _LINKINFO = 1, 3, 4, 5, 10, 16, 18
_INFO_KIND, _LOWER_NETNS = 1, 37
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_OPERSTATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")


@dataclass(frozen=True)
class Address:
    """One IP address: text without scope, and the length of its subnet's prefix in bits."""

    ip: str
    prefix: int

    def __str__(self) -> str:
        return f"{self.ip}/{self.prefix}"


@dataclass(frozen=True)
class Link:
    """One network interface as the kernel names it.

    Attributes:
        kind: rtnetlink's word for a virtual one (bridge, veth, bond, vlan, tun ...), else "".
        arp_type: ARPHRD number: 1 Ethernet, 32 InfiniBand, 772 loopback, 65534 none (tunnel).
        flags: IFF_* bits. mtu: bytes. state: the kernel's operstate. mac: as text, or "".
        master: index of the bond or bridge that it is a port of, or 0.
        lower: index of the NIC below (vlan, macvlan), or 0.
        lower_elsewhere: the NIC below is in another network namespace.
    """

    name: str
    index: int
    kind: str = ""
    arp_type: int = 1
    flags: int = 0
    mtu: int = 0
    state: str = "unknown"
    mac: str = ""
    master: int = 0
    lower: int = 0
    lower_elsewhere: bool = False
    addresses: tuple[Address, ...] = ()


def _attributes(raw: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(raw):
        length, kind = _ATTRIBUTE.unpack_from(raw, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, raw[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def _messages(raw: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(raw):
        length, kind, *_ = _HEADER.unpack_from(raw, at)
        if length < _HEADER.size:
            return
        yield kind, raw[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def _number(raw: bytes) -> int:
    return int.from_bytes(raw[:4], "little" if struct.pack("=H", 1)[0] else "big")


def parse_link(raw: bytes) -> Link:
    """The Link of the payload of one RTM_NEWLINK; without addresses."""
    _, arp_type, index, flags, _ = _LINK.unpack_from(raw)
    found = dict(_attributes(raw[_LINK.size :]))
    state = found.get(_OPERSTATE, b"\0")[0]
    return Link(
        name=_text(found.get(_IFNAME, b"?")),
        index=index,
        kind=_text(dict(_attributes(found.get(_LINKINFO, b""))).get(_INFO_KIND, b"")),
        arp_type=arp_type,
        flags=flags,
        mtu=_number(found.get(_MTU, b"")),
        state=_OPERSTATES[state] if state < len(_OPERSTATES) else "unknown",
        mac=":".join(f"{byte:02x}" for byte in found.get(_ADDRESS, b"")[:20]),
        master=_number(found.get(_MASTER, b"")),
        lower=_number(found.get(_LOWER, b"")),
        lower_elsewhere=_LOWER_NETNS in found,
    )


def parse_address(raw: bytes) -> tuple[int, Address] | None:
    """(index of the interface, address) of the payload of one RTM_NEWADDR; None: not IP."""
    family, prefix, _, _, index = _ADDR.unpack_from(raw)
    found = dict(_attributes(raw[_ADDR.size :]))
    # On a point-to-point interface _ADDRESS is the other end's.
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    if family not in (socket.AF_INET, socket.AF_INET6) or packed is None:
        return None
    return index, Address(str(ipaddress.ip_address(packed)), prefix)


def _dump(request: int, answer: int) -> list[bytes]:
    """Payloads of all `answer` messages to one dump request. OSError where the kernel refuses."""
    found: list[bytes] = []
    taken = 0
    end = time.monotonic() + _DEADLINE_S
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        body = _LINK.pack(0, 0, 0, 0, 0)
        kernel.bind((0, 0))
        kernel.send(_HEADER.pack(_HEADER.size + len(body), request, _REQUEST | _DUMP, 1, 0) + body)
        while taken < _MOST_BYTES:
            kernel.settimeout(max(0.001, end - time.monotonic()))
            raw = kernel.recv(1 << 18)
            taken += len(raw)
            for kind, payload in _messages(raw):
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    raise OSError(-struct.unpack_from("=i", payload)[0], "netlink refused a dump")
                if kind == answer:
                    found.append(payload)
    raise OSError("netlink: the kernel's list of interfaces does not end")


def read_links() -> tuple[Link, ...]:
    """All interfaces of this network namespace in the kernel's order. OSError: netlink failed."""
    addresses: dict[int, list[Address]] = {}
    for payload in _dump(_GETADDR, _NEWADDR):
        found = parse_address(payload)
        if found is not None:
            addresses.setdefault(found[0], []).append(found[1])
    links = map(parse_link, _dump(_GETLINK, _NEWLINK))
    return tuple(
        Link(**{**vars(link), "addresses": tuple(addresses.get(link.index, ()))}) for link in links
    )
