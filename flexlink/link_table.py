# SPDX-License-Identifier: Apache-2.0
"""The links of the communicators that `flexlink links` shows: rows, rates, shares. All pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flexlink.probe_model import Communicator, Link, Process, Snapshot
from flexlink.text_table import amount, columns, duration

LinkKey = tuple[str, int, int, int]  # file, slot, generation, index: one link of one rank

HEADINGS = [
    "rank", "link", "to", "state", "out", "", "in", "", "share", "replays", "rate", "latency",
    "",
]  # fmt: skip


@dataclass(frozen=True)
class LinkRate:
    """Of one link between two readings."""

    bytes_out_per_s: float
    bytes_in_per_s: float


def key_of(process: Process, comm: Communicator, link: Link) -> LinkKey:
    """Which link of which rank."""
    return process.path, comm.slot, comm.generation, link.index


def _links(seen: Snapshot) -> Iterable[tuple[LinkKey, Process, Link]]:
    for process in seen.processes:
        for comm in process.communicators:
            for link in comm.links:
                yield key_of(process, comm, link), process, link


def link_rates(before: Snapshot | None, after: Snapshot) -> dict[LinkKey, LinkRate]:
    """Bytes per second of every link that is in both readings and has not started anew."""
    old: dict[LinkKey, tuple[Process, Link]] = {}
    if before is not None:
        old = {key: (process, link) for key, process, link in _links(before)}
    found = {}
    for key, process, link in _links(after):
        if key not in old:
            continue
        then, was = old[key]
        seconds = (process.read_ns - then.read_ns) / 1e9
        out, back = link.bytes_out - was.bytes_out, link.bytes_in - was.bytes_in
        if seconds > 0 and out >= 0 and back >= 0:
            found[key] = LinkRate(out / seconds, back / seconds)
    return found


def shares(
    process: Process, comm: Communicator, rates: Mapping[LinkKey, LinkRate]
) -> dict[int, float]:
    """Which part of the bytes to its peer each link has sent, by index.

    Of the bytes between the two readings where there are two, else of all so far. A peer to which
    nothing was sent is not there.
    """
    sent: dict[int, float] = {}
    for link in comm.links:
        if link.peer is not None:
            rate = rates.get(key_of(process, comm, link))
            sent[link.index] = rate.bytes_out_per_s if rate else 0 if rates else link.bytes_out
    totals: dict[int, float] = {}
    for link in comm.links:
        if link.peer is not None:
            totals[link.peer] = totals.get(link.peer, 0) + sent[link.index]
    return {
        link.index: sent[link.index] / totals[link.peer]
        for link in comm.links
        if link.peer is not None and totals[link.peer] > 0
    }


def _target(link: Link) -> str:
    if link.peer is None:
        return "-"
    return f"rank {link.peer}" + (f" ({link.host_name})" if link.host_name else "")


def _flow(number: float | None) -> str:
    return "" if number is None else f"{amount(number)}/s"


def cells(
    process: Process, comm: Communicator, rates: Mapping[LinkKey, LinkRate]
) -> list[list[str]]:
    """A row under HEADINGS for each link of one rank."""
    part = shares(process, comm, rates)
    rows = []
    for link in comm.links:
        never = link.state == "never"
        rate = rates.get(key_of(process, comm, link))
        why = link.why
        if link.state == "left" and link.since_ns is not None:
            why = f"{duration(link.since_ns)} ago: {why}"
        rows.append(
            [
                str(comm.rank),
                link.name,
                _target(link),
                link.state,
                "" if never else amount(link.bytes_out),
                _flow(rate.bytes_out_per_s if rate and not never else None),
                "" if never else amount(link.bytes_in),
                _flow(rate.bytes_in_per_s if rate and not never else None),
                f"{100 * part[link.index]:.0f}%" if link.index in part and not never else "",
                "" if never else str(link.replays),
                "" if never else _flow(link.bytes_per_s),
                "" if never else duration(link.latency_ns),
                why,
            ]
        )
    return rows


def link_lines(
    members: Iterable[tuple[Process, Communicator]], rates: Mapping[LinkKey, LinkRate]
) -> list[str]:
    """The table of all links of one communicator; nothing where there are none."""
    rows = [row for process, comm in members for row in cells(process, comm, rates)]
    return columns(HEADINGS, rows) if rows else []
