# SPDX-License-Identifier: Apache-2.0
"""native/include/flexlink/probe.h in Python: where each field of a probe file is, and its names.

Only the layout; who reads files is flexlink.probe. tests/python/test_probe_layout.py holds every
offset and constant to what a C compiler says.
"""

from __future__ import annotations

import struct
from typing import Any

MAGIC = 0x45424F5250584C46  # "FLXPROBE"
LAYOUT = 2
HEADER_BYTES = 4096
SLOTS = 64
LANES = 8
RECORDS = 256
LINKS = 1024
NO_RANK = 0xFFFFFFFF
RECORD_NO_RANK = 0xFFFFFF
CLOCK_MONOTONIC = 0
CLOCK_COUNTER = 1
PHASE_IDLE = 0
STATE_FREE = 0
LINK_FREE = 0

STATE_NAMES = ("free", "connecting", "ready", "finalizing", "failed", "aborted", "closed")
PHASE_NAMES = ("idle", "started", "meeting", "moving", "leaving")
LINK_STATE_NAMES = ("free", "never", "used", "left")
LANE_NAMES = ("memory", "message", "vendor", "hier")
# As in native/src/base/types.h.
COLLECTIVE_NAMES = (
    "AllReduce",
    "Broadcast",
    "Reduce",
    "AllGather",
    "ReduceScatter",
    "AlltoAll",
    "Gather",
    "Scatter",
    "Send",
    "Recv",
    "PutSignal",
    "Signal",
    "WaitSignal",
)
ROOTLESS = ("AllReduce", "AllGather", "ReduceScatter", "AlltoAll")
TYPE_NAMES = (
    "int8",
    "uint8",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "float8e4m3",
    "float8e5m2",
)
OP_NAMES = ("sum", "prod", "max", "min", "avg", "premulsum", "bitand", "bitor", "bitxor")


def name_of(names: tuple[str, ...], number: int) -> str:
    """The name of `number`, or the number itself where it has none (another version wrote it)."""
    return names[number] if 0 <= number < len(names) else str(number)


def text_of(raw: bytes) -> str:
    """Text up to the first NUL, with nothing in it that could steer a terminal."""
    text = raw.split(b"\0", 1)[0].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in text)


class Structure:
    """One C structure: little-endian, no padding that is not a field.

    Args:
        c_name: its name in probe.h.
        fields: (name in C, struct format of the field: "Q", "I", "64s", "10Q", …).
    """

    def __init__(self, c_name: str, fields: tuple[tuple[str, str], ...]) -> None:
        self.c_name = c_name
        self.offsets: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self._slices: dict[str, slice | int] = {}
        offset = index = 0
        for name, form in fields:
            values = len(struct.Struct("<" + form).unpack(bytes(struct.calcsize("<" + form))))
            self.offsets[name] = offset
            self.sizes[name] = struct.calcsize("<" + form)
            self._slices[name] = index if values == 1 else slice(index, index + values)
            offset += self.sizes[name]
            index += values
        self._struct = struct.Struct("<" + "".join(form for _, form in fields))
        self.size = self._struct.size

    def unpack(self, buffer: bytes, offset: int = 0) -> dict[str, Any]:
        """The fields by name. The buffer must hold `size` bytes from `offset` (struct.error)."""
        values = self._struct.unpack_from(buffer, offset)
        return {name: values[where] for name, where in self._slices.items()}


CLOCK = Structure(
    "FlexlinkProbeClock",
    (
        ("version", "Q"),
        ("firstTicks", "Q"),
        ("firstNs", "Q"),
        ("lastTicks", "Q"),
        ("lastNs", "Q"),
        ("reserved", "3Q"),
    ),
)

HEADER = Structure(
    "FlexlinkProbeHeader",
    (
        ("magic", "Q"),
        ("layout", "I"),
        ("headerBytes", "I"),
        ("fileBytes", "Q"),
        ("pid", "I"),
        ("uid", "I"),
        ("startTime", "Q"),
        ("pidNamespace", "Q"),
        ("bootId", "16s"),
        ("createdUnixNs", "Q"),
        ("clockKind", "I"),
        ("slotsOffset", "I"),
        ("slotBytes", "I"),
        ("slotCount", "I"),
        ("lanesOffset", "I"),
        ("laneBytes", "I"),
        ("laneCount", "I"),
        ("ringsOffset", "I"),
        ("recordBytes", "I"),
        ("recordCount", "I"),
        ("libraryVersion", "I"),
        ("linksOffset", "I"),
        ("program", "32s"),
        ("host", "64s"),
        ("opened", "Q"),
        ("unrecorded", "Q"),
        ("goneUnixNs", "Q"),
        ("linkBytes", "I"),
        ("linkCount", "I"),
        ("linksTaken", "Q"),
        ("unrecordedLinks", "Q"),
        ("reserved1", "7Q"),
        ("clock", f"{CLOCK.size}s"),
    ),
)

COMM = Structure(
    "FlexlinkProbeComm",
    (
        ("version", "Q"),
        ("generation", "Q"),
        ("id", "Q"),
        ("parent", "Q"),
        ("rankAndRanks", "Q"),
        ("hostAndHosts", "Q"),
        ("openedTicks", "Q"),
        ("closedTicks", "Q"),
        ("name", "56s"),
        ("reserved0", "Q"),
        ("state", "Q"),
        ("entered", "Q"),
        ("completed", "Q"),
        ("operations", "Q"),
        ("failures", "Q"),
        ("records", "Q"),
        ("reserved1", "10Q"),
    ),
)

LANE = Structure(
    "FlexlinkProbeLane",
    (
        ("version", "Q"),
        ("seq", "Q"),
        ("call", "Q"),
        ("count", "Q"),
        ("bytes", "Q"),
        ("startTicks", "Q"),
        ("phase", "Q"),
        ("bytesDone", "Q"),
        ("waitRanks", "Q"),
        ("waitSince", "Q"),
        ("longestWait", "Q"),
        ("operations", "Q"),
        ("totalBytes", "Q"),
        ("busyTicks", "Q"),
        ("waitedTicks", "Q"),
        ("reserved", "Q"),
    ),
)

RECORD = Structure(
    "FlexlinkProbeRecord",
    (
        ("version", "Q"),
        ("seq", "Q"),
        ("call", "Q"),
        ("count", "Q"),
        ("bytes", "Q"),
        ("startTicks", "Q"),
        ("endTicks", "Q"),
        ("outcome", "Q"),
    ),
)

LINK = Structure(
    "FlexlinkProbeLink",
    (
        ("version", "Q"),
        ("owner", "Q"),
        ("peer", "Q"),
        ("index", "Q"),
        ("state", "Q"),
        ("bytesOut", "Q"),
        ("bytesIn", "Q"),
        ("replays", "Q"),
        ("bytesPerSecond", "Q"),
        ("latencyNanos", "Q"),
        ("sinceTicks", "Q"),
        ("writtenTicks", "Q"),
        ("reserved", "Q"),
        ("name", "32s"),
        ("host", "32s"),
        ("why", "88s"),
    ),
)

STRUCTURES = (HEADER, CLOCK, COMM, LANE, RECORD, LINK)

SLOT_BYTES = COMM.size + LANES * LANE.size
RINGS_OFFSET = HEADER_BYTES + SLOTS * SLOT_BYTES
RING_BYTES = RECORDS * RECORD.size
LINKS_OFFSET = RINGS_OFFSET + SLOTS * RING_BYTES
FILE_BYTES = LINKS_OFFSET + LINKS * LINK.size

# What the header of a file of this layout must say; anything else is damage.
EXPECTED_HEADER = {
    "headerBytes": HEADER_BYTES,
    "fileBytes": FILE_BYTES,
    "slotsOffset": HEADER_BYTES,
    "slotBytes": SLOT_BYTES,
    "slotCount": SLOTS,
    "lanesOffset": COMM.size,
    "laneBytes": LANE.size,
    "laneCount": LANES,
    "ringsOffset": RINGS_OFFSET,
    "recordBytes": RECORD.size,
    "recordCount": RECORDS,
    "linksOffset": LINKS_OFFSET,
    "linkBytes": LINK.size,
    "linkCount": LINKS,
}
