# SPDX-License-Identifier: Apache-2.0
"""Reads the links of one process from its probe file; flexlink.probe reads all else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flexlink import probe_layout as layout
from flexlink.probe_layout import LINK, name_of, text_of
from flexlink.probe_model import Link

Owner = tuple[int, int]  # slot of the communicator, low half of its generation
Since = Callable[[int], "int | None"]  # nanoseconds from ticks until now

_STATE = slice(LINK.offsets["state"], LINK.offsets["state"] + 8)
_FREE = layout.LINK_FREE.to_bytes(8, "little")


def taken(table: bytes) -> Iterator[int]:
    """Where in the table of links there is one."""
    for at in range(0, layout.LINKS * LINK.size, LINK.size):
        if table[at + _STATE.start : at + _STATE.stop] != _FREE:
            yield at


def owner_of(raw: dict[str, Any]) -> Owner:
    """Whose link it is."""
    return raw["owner"] & 0xFFFFFFFF, raw["owner"] >> 32


def link_of(raw: dict[str, Any], since: Since) -> Link:
    """One link of its fields, whatever they hold."""
    peer = raw["peer"] & layout.NO_RANK
    return Link(
        index=raw["index"],
        name=text_of(raw["name"]),
        peer=None if peer == layout.NO_RANK else peer,
        host=raw["peer"] >> 32,
        host_name=text_of(raw["host"]),
        state=name_of(layout.LINK_STATE_NAMES, raw["state"]),
        why=text_of(raw["why"]),
        bytes_out=raw["bytesOut"],
        bytes_in=raw["bytesIn"],
        replays=raw["replays"],
        bytes_per_s=raw["bytesPerSecond"],
        latency_ns=raw["latencyNanos"],
        since_ns=since(raw["sinceTicks"]),
        age_ns=since(raw["writtenTicks"]),
    )
