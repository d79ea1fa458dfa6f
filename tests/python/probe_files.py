# SPDX-License-Identifier: Apache-2.0
"""Makes probe files byte by byte for the reader's tests: no library, no writer."""

from __future__ import annotations

import os
from pathlib import Path

from flexlink import probe_layout, process_life
from flexlink.probe_layout import CLOCK, COMM, HEADER, LANE, LINK, RECORD, Structure

TICKS_AT = 10**15  # the clock pair: these ticks are START_NS, and a tick is 2 ns
START_NS = 5_000_000_000


def call_word(collective: int, type_: int, op: int, lane: int, root: int) -> int:
    """FLEXLINK_PROBE_CALL of probe.h."""
    return collective | type_ << 8 | op << 16 | lane << 24 | (root & 0xFFFFFFFF) << 32


class FakeFile:
    """The bytes of a probe file of this very process, to be filled and written."""

    def __init__(self) -> None:
        self.data = bytearray(probe_layout.FILE_BYTES)
        self.set(
            HEADER,
            0,
            magic=probe_layout.MAGIC,
            layout=probe_layout.LAYOUT,
            pid=os.getpid(),
            uid=os.geteuid(),
            startTime=process_life.start_time(os.getpid()),
            pidNamespace=process_life.pid_namespace(),
            clockKind=probe_layout.CLOCK_COUNTER,
            **probe_layout.EXPECTED_HEADER,
        )
        self.set_bytes(HEADER.offsets["bootId"], process_life.boot_id())
        self.set_bytes(HEADER.offsets["program"], b"python")
        self.set_bytes(HEADER.offsets["host"], b"node7")
        self.set(
            CLOCK,
            HEADER.offsets["clock"],
            version=2,
            firstTicks=TICKS_AT - 1000,
            firstNs=START_NS - 2000,
            lastTicks=TICKS_AT,
            lastNs=START_NS,
        )

    def set(self, structure: Structure, offset: int, **fields: int) -> None:
        """Stores integer fields of the structure at `offset`."""
        for name, value in fields.items():
            at = offset + structure.offsets[name]
            self.set_bytes(at, value.to_bytes(structure.sizes[name], "little"))

    def set_bytes(self, offset: int, data: bytes) -> None:
        """Stores raw bytes."""
        self.data[offset : offset + len(data)] = data

    def comm(self, slot: int, name: bytes = b"", **fields: int) -> None:
        """Opens a slot."""
        at = probe_layout.HEADER_BYTES + slot * probe_layout.SLOT_BYTES
        self.set(COMM, at, **{"version": 2, "generation": 1, "state": 2} | fields)
        self.set_bytes(at + COMM.offsets["name"], name)

    def lane(self, slot: int, lane: int, **fields: int) -> None:
        """Sets a live state."""
        at = probe_layout.HEADER_BYTES + slot * probe_layout.SLOT_BYTES + COMM.size
        none = 0xFFFFFFFF_FFFFFFFF
        self.set(LANE, at + lane * LANE.size, **{"version": 2, "waitRanks": none} | fields)

    def record(self, slot: int, number: int, **fields: int) -> None:
        """Sets record `number` of a ring; its version follows from the number."""
        ring = probe_layout.RINGS_OFFSET + slot * probe_layout.RING_BYTES
        at = ring + number % probe_layout.RECORDS * RECORD.size
        self.set(RECORD, at, **{"version": 2 * number + 2} | fields)

    def link(self, place: int, texts: tuple[bytes, bytes, bytes], **fields: int) -> None:
        """Sets a link of the communicator in slot 0; texts: name, host, why."""
        at = probe_layout.LINKS_OFFSET + place * LINK.size
        self.set(LINK, at, **{"version": 2, "owner": 1 << 32, "state": 2} | fields)
        for name, text in zip(("name", "host", "why"), texts, strict=True):
            self.set_bytes(at + LINK.offsets[name], text.ljust(LINK.sizes[name], b"\0"))

    def write(self, folder: Path, name: str = "probe-1-1.flx") -> Path:
        """Writes the file; returns its path."""
        path = folder / name
        path.write_bytes(self.data)
        return path
