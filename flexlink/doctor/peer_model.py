# SPDX-License-Identifier: Apache-2.0
"""What two doctors tell each other, as values, and what it means: findings. All pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flexlink.doctor.findings import ERROR, NOTE, OK, WARNING, Finding, plain
from flexlink.doctor.netlink import Address
from flexlink.doctor.nics import NO, Nic, Wish, addresses, classify, is_link_local, kind_of, subnet
from flexlink.doctor.peer_wire import PeerError

MOST_ENDS = 8  # of one side: at most 64 pairs


@dataclass(frozen=True)
class End:
    """One address that a side offers: its NIC's name, the IP, its prefix in bits, the MTU."""

    nic: str
    ip: str
    prefix: int
    mtu: int

    def __str__(self) -> str:
        return f"{self.nic} {self.ip}"

    @property
    def net(self) -> str:
        """The subnet."""
        return subnet(Address(self.ip, self.prefix))


@dataclass(frozen=True)
class Side:
    """Who takes part: the host's name, the port where its echo answers, its addresses."""

    host: str
    port: int
    ends: tuple[End, ...]


@dataclass(frozen=True)
class Reach:
    """One try. rtt_us: median round trip in µs, None where `problem` says what came back."""

    source: End
    target: End
    rtt_us: float | None = None
    problem: str = ""


def offered(nics: Sequence[Nic], wish: Wish, loopback: bool) -> tuple[End, ...]:
    """The first address of each family of each NIC that may be in the default set.

    loopback: the two sides are processes of one machine, so lo is offered too.
    """
    ends: list[End] = []
    for nic, place in zip(nics, classify(nics, wish), strict=True):
        is_lo = kind_of(nic) == "loopback"
        if not (place.verdict != NO or (is_lo and loopback and nic.up)):
            continue
        seen: set[int] = set()
        for address in addresses(nic, wish):
            version = ipaddress.ip_address(address.ip).version
            if version not in seen and not is_link_local(address):
                seen.add(version)
                ends.append(End(plain(nic.name, 16), address.ip, address.prefix, nic.link.mtu))
    return tuple(ends[:MOST_ENDS])


def pairs(own: Sequence[End], theirs: Sequence[End]) -> list[tuple[End, End]]:
    """Every address of ours with every address of theirs of the same family."""
    return [(a, b) for a in own for b in theirs if (":" in a.ip) == (":" in b.ip)]


def _number(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError
    return value


def _end(raw: Any) -> End:
    address = ipaddress.ip_address(str(raw["ip"]))
    prefix = _number(raw["prefix"], 0, address.max_prefixlen)
    if address.is_multicast or address.is_unspecified or "%" in str(address):
        raise ValueError
    return End(plain(str(raw["nic"]), 16), str(address), prefix, _number(raw["mtu"], 0, 1 << 24))


def side_of(message: dict[str, Any]) -> Side:
    """What a peer says of itself. PeerError where anything of it is out of bounds."""
    try:
        ends = message["ends"]
        if not isinstance(ends, list) or len(ends) > MOST_ENDS:
            raise ValueError
        port = _number(message["port"], 1, 65535)
        return Side(plain(str(message["host"]), 64), port, tuple(map(_end, ends)))
    except (KeyError, TypeError, ValueError):
        raise PeerError(
            "the peer describes itself in a way that this version cannot read"
        ) from None


def side_message(side: Side) -> dict[str, Any]:
    """The opposite of side_of."""
    return {"host": side.host, "port": side.port, "ends": [vars(end) for end in side.ends]}


def reach_message(reached: Sequence[Reach]) -> dict[str, Any]:
    """The results of one side in the order of pairs()."""
    return {"reached": [{"rtt_us": r.rtt_us, "problem": r.problem} for r in reached]}


def reached_of(message: dict[str, Any], tried: Sequence[tuple[End, End]]) -> list[Reach]:
    """The opposite of reach_message, for the pairs that the peer had to try."""
    found = []
    try:
        rows = message["reached"]
        if not isinstance(rows, list) or len(rows) != len(tried):
            raise ValueError
        for (source, target), row in zip(tried, rows, strict=True):
            rtt = row["rtt_us"]
            if rtt is not None and not (isinstance(rtt, int | float) and 0 <= rtt < 1e9):
                raise ValueError
            problem = plain(str(row["problem"]))
            if (rtt is None) != bool(problem):
                raise ValueError
            found.append(Reach(source, target, rtt, problem))
    except (KeyError, TypeError, ValueError):
        raise PeerError("the peer's results cannot be read by this version") from None
    return found


def rtt_text(microseconds: float) -> str:
    """0.031 ms; 12.3 ms."""
    return f"{microseconds / 1000:.3g} ms"


def _mend(reach: Reach, source_host: str, target_host: str) -> str:
    source, target = reach.source, reach.target
    if "64 KiB" in reach.problem:
        least = min(source.mtu, target.mtu)
        return f"on {source_host}: ping -M do -s {max(least - 28, 56)} {target.ip}; lower the MTU"
    if any(word in reach.problem for word in ("unreachable", "No route", "assign")):
        return f"on {source_host}: ip route get {target.ip} from {source.ip}"
    table = "ip6tables" if ":" in source.ip else "iptables"
    return f"on {target_host}: sudo {table} -I INPUT -s {source.ip} -p tcp -j ACCEPT"


def check_direction(reached: Sequence[Reach], source_host: str, target_host: str) -> list[Finding]:
    """One finding for each pair of one direction, and an error where no pair reaches."""
    check = "peer.reach"
    way = f"{source_host} -> {target_host}"
    found = []
    for reach in reached:
        text = f"{way}: {reach.source} -> {reach.target}"
        if reach.rtt_us is not None:
            found.append(Finding(check, OK, f"{text}: {rtt_text(reach.rtt_us)}", "median of 5"))
            continue
        near = reach.source.net == reach.target.net
        level = WARNING if near else NOTE
        evidence = "the same subnet" if near else "different subnets"
        mend = _mend(reach, source_host, target_host) if near else ""
        found.append(Finding(check, level, f"{text}: {reach.problem}", evidence, mend))
    if not any(reach.rtt_us is not None for reach in reached):
        tried = f"{len(reached)} pairs of addresses tried"
        mend = _mend(reached[0], source_host, target_host) if reached else "ip address"
        text = f"{way}: no connection at all; ranks need both directions"
        found.append(Finding("peer.direction", ERROR, text, tried, mend))
    return found


def check_mtu(own: Side, peer: Side) -> list[Finding]:
    """NICs of the two sides on one subnet with unlike MTUs."""
    found = []
    for ours, theirs in pairs(own.ends, peer.ends):
        if ours.net == theirs.net and ours.mtu != theirs.mtu:
            large, small = (own, peer) if ours.mtu > theirs.mtu else (peer, own)
            nic, mtu = (ours.nic, theirs.mtu) if large is own else (theirs.nic, ours.mtu)
            text = f"on {ours.net} {large.host} sends larger packets than {small.host} takes"
            evidence = f"MTU {ours.mtu} of {own.host} {ours}, {theirs.mtu} of {peer.host} {theirs}"
            mend = f"on {large.host}: sudo ip link set {nic} mtu {mtu}"
            found.append(Finding("peer.mtu", WARNING, text, evidence, mend))
    return found
