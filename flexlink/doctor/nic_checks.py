# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the NICs: findings from facts, and the rows of the table. All pure."""

from __future__ import annotations

from collections.abc import Sequence

from flexlink.doctor.findings import ERROR, NOTE, OK, WARNING, Finding, plain
from flexlink.doctor.nics import (
    NO,
    PEER,
    UP,
    YES,
    Nic,
    Place,
    Wish,
    addresses,
    bootstrap_of,
    classify,
    kind_of,
    link_problem,
    matches,
    subnet,
)

HEADINGS = ("NIC", "kind", "speed", "MTU", "state", "driver", "addresses", "in the default set")
_JUMBO_FROM = 25_000  # Mb/s: from here on frames of 1500 bytes cost a noticeable part of a core


def speed_text(speed: int | None) -> str:
    """10 Gb/s, 2.5 Gb/s, 100 Mb/s; "-" where it is not known."""
    if speed is None:
        return "-"
    return f"{speed / 1000:g} Gb/s" if speed >= 1000 else f"{speed} Mb/s"


def state_text(nic: Nic) -> str:
    """up, down or no carrier."""
    if nic.up:
        return "up"
    return "no carrier" if nic.link.flags & UP else "down"


def row(nic: Nic, place: Place) -> tuple[str, ...]:
    """The cells of one NIC under HEADINGS."""
    verdict = {YES: "yes: ", PEER: "", NO: "no: "}[place.verdict]
    return (
        plain(nic.name),
        kind_of(nic),
        speed_text(nic.speed),
        str(nic.link.mtu),
        state_text(nic),
        nic.driver or nic.link.kind or "-",
        ", ".join(map(str, nic.link.addresses)) or "-",
        verdict + place.why,
    )


def as_json(nic: Nic, place: Place) -> dict[str, object]:
    """One NIC for --json; speed in Mb/s, MTU in bytes."""
    return {
        "name": plain(nic.name),
        "kind": kind_of(nic),
        "speed_mbps": nic.speed,
        "mtu": nic.link.mtu,
        "state": state_text(nic),
        "driver": nic.driver,
        "numa_node": nic.numa,
        "addresses": [str(address) for address in nic.link.addresses],
        "default_set": place.verdict,
        "why": place.why,
        "bootstrap": place.bootstrap,
    }


def check_nics(nics: Sequence[Nic], wish: Wish) -> list[Finding]:
    """All findings about the NICs of one machine."""
    places = classify(nics, wish)
    chosen = [n for n, place in zip(nics, places, strict=True) if place.verdict != NO]
    found = [_set_finding(nics, places, wish)]
    found += _links_findings(nics, wish)
    idle = (_idle_finding(nic, place) for nic, place in zip(nics, places, strict=True))
    found += [finding for finding in idle if finding is not None]
    found += _bond_findings(nics)
    found += _mtu_findings(chosen, wish)
    found += _shared_subnet_findings(chosen, wish)
    return found


def _set_finding(nics: Sequence[Nic], places: Sequence[Place], wish: Wish) -> Finding:
    """The one about the default set as a whole."""
    check = "network.default_set"
    there = ", ".join(f"{plain(n.name)} ({state_text(n)})" for n in nics) or "none"
    evidence = f"interfaces: {there}"
    if bootstrap_of(nics, wish) is None:
        for name, pattern in (
            ("NCCL_OOB_NET_IFNAME", wish.oob_ifname),
            ("NCCL_SOCKET_IFNAME", wish.socket_ifname),
        ):
            if pattern and not any(matches(pattern, nic.name) for nic in nics):
                text = f"{name}={plain(pattern)} matches no interface: ranks cannot meet"
                return Finding(check, ERROR, text, evidence, f"unset {name}")
        text = "no interface is up with an address, not even lo: ranks cannot meet"
        if all(kind_of(nic) == "loopback" for nic in nics):
            text = "no NIC but lo, and lo is down: ranks cannot meet, not even on this machine"
        return Finding(check, ERROR, text, evidence, "sudo ip link set lo up")
    chosen = [(nic, place) for nic, place in zip(nics, places, strict=True) if place.verdict != NO]
    if chosen:
        names = ", ".join(
            plain(nic.name) + (" (depends on the peer)" if place.verdict == PEER else "")
            for nic, place in chosen
        )
        return Finding(check, OK, f"taken by itself: {names}", evidence)
    if wish.socket_ifname:
        text = f"NCCL_SOCKET_IFNAME={plain(wish.socket_ifname)} leaves no NIC that can be used"
        return Finding(check, WARNING, text, evidence, "unset NCCL_SOCKET_IFNAME")
    others = [nic for nic in nics if kind_of(nic) != "loopback"]
    if not others:
        text = "no NIC but lo: only ranks of this machine can work together"
        mend = "give the container a network: docker run --network=host"
        return Finding(check, WARNING, text, evidence, mend)
    text = "no NIC can be taken by itself: only ranks of this machine can work together"
    usable = [nic for nic in others if nic.up and addresses(nic, wish) and not nic.link.master]
    if usable:
        mend = f"export NCCL_SOCKET_IFNAME={plain(usable[0].name)}"
        return Finding(check, WARNING, text, evidence, mend)
    mend = f"sudo ip link set {plain(others[0].name)} up, and give it an address"
    return Finding(check, WARNING, text, evidence, mend)


def _links_findings(nics: Sequence[Nic], wish: Wish) -> list[Finding]:
    """FLEXLINK_LINKS that cannot be read, or that names what is not there."""
    check, names = "network.links", {nic.name for nic in nics}
    there = ", ".join(plain(nic.name) for nic in nics) or "none"
    problem = link_problem(wish.links)
    if problem:
        text = f"FLEXLINK_LINKS: {plain(problem)}: no communicator over several hosts can be made"
        return [Finding(check, ERROR, text, f"interfaces: {there}", "unset FLEXLINK_LINKS")]
    missing = [name for name in wish.data_nics if name not in names]
    if not missing:
        return []
    text = f"FLEXLINK_LINKS names {', '.join(map(plain, missing))}, which this host does not have"
    level = ERROR if len(missing) == len(wish.data_nics) else WARNING
    return [Finding(check, level, text, f"interfaces: {there}", "unset FLEXLINK_LINKS")]


def _idle_finding(nic: Nic, place: Place) -> Finding | None:
    """A real NIC that could carry bytes and does not."""
    if kind_of(nic) not in ("ethernet", "infiniband", "bond") or nic.link.master:
        return None
    name = plain(nic.name)
    evidence = f"operstate {nic.link.state}, flags 0x{nic.link.flags:x}"
    if place.why == "down":
        text, mend = f"{name} is down", f"sudo ip link set {name} up"
    elif place.why == "no carrier":
        text, mend = f"{name} has no carrier", f"plug in its cable; then: ip link show {name}"
    elif place.why.startswith("no address"):
        text = f"{name} is up and has {place.why}"
        mend = f"sudo ip address add ADDRESS/PREFIX dev {name}"
    else:
        return None
    return Finding("network.idle", NOTE, text, evidence, mend)


def _bond_findings(nics: Sequence[Nic]) -> list[Finding]:
    """Bonds that lack a port."""
    found = []
    for bond in nics:
        if kind_of(bond) != "bond":
            continue
        ports = [nic for nic in nics if nic.link.master == bond.link.index]
        for port in ports:
            if not port.up:
                how = "is down" if state_text(port) == "down" else "has no carrier"
                text = f"{plain(port.name)}, a port of {plain(bond.name)}, {how}"
                evidence = f"{sum(p.up for p in ports)} of {len(ports)} ports are up"
                mend = f"sudo ip link set {plain(port.name)} up, and check its cable"
                found.append(Finding("network.bond", WARNING, text, evidence, mend))
    return found


def _mtu_findings(chosen: Sequence[Nic], wish: Wish) -> list[Finding]:
    """Small frames on fast NICs; unlike frames on one subnet."""
    found = []
    for nic in chosen:
        if nic.speed is not None and nic.speed >= _JUMBO_FROM and nic.link.mtu <= 1500:
            text = f"{plain(nic.name)} has {speed_text(nic.speed)} and an MTU of {nic.link.mtu}"
            mend = f"sudo ip link set {plain(nic.name)} mtu 9000, on all hosts and the switch"
            found.append(Finding("network.mtu", NOTE, text, "a larger MTU costs less CPU", mend))
    nets: dict[str, list[Nic]] = {}
    for nic in chosen:
        for address in addresses(nic, wish)[:1]:
            nets.setdefault(subnet(address), []).append(nic)
    for net, members in nets.items():
        if len({nic.link.mtu for nic in members}) > 1:
            largest = max(nic.link.mtu for nic in members)
            smallest = min(members, key=lambda nic: nic.link.mtu)
            text = f"NICs on {net} have unlike MTUs: large packets between them are lost"
            evidence = ", ".join(f"{plain(nic.name)} {nic.link.mtu}" for nic in members)
            mend = f"sudo ip link set {plain(smallest.name)} mtu {largest}"
            found.append(Finding("network.mtu", WARNING, text, evidence, mend))
    return found


def _shared_subnet_findings(chosen: Sequence[Nic], wish: Wish) -> list[Finding]:
    """Two wires on one subnet: the kernel sends all over the first, unless it is told."""
    nets: dict[str, list[Nic]] = {}
    for nic in chosen:
        for address in addresses(nic, wish)[:1]:
            nets.setdefault(subnet(address), []).append(nic)
    found = []
    for net, members in nets.items():
        if len(members) < 2:
            continue
        names = " and ".join(plain(nic.name) for nic in members)
        text = f"{names} are both on {net}: without a route for each, one carries all bytes"
        second = members[1]
        table = 100 + second.link.index
        ip = "sudo ip -6" if ":" in net else "sudo ip"
        mend = (
            f"{ip} route add {net} dev {plain(second.name)} table {table} && "
            f"{ip} rule add from {addresses(second, wish)[0].ip} table {table}"
        )
        if ":" not in net:
            mend += " && sudo sysctl -w net.ipv4.conf.all.arp_{ignore=1,announce=2}"
        evidence = ", ".join(f"{plain(n.name)} {addresses(n, wish)[0]}" for n in members)
        found.append(Finding("network.same_subnet", WARNING, text, evidence, mend))
    return found
