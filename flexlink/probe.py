# SPDX-License-Identifier: Apache-2.0
"""Reads the probe files of running and dead processes; the layout is flexlink.probe_layout.

Files are read, not mapped: one that shrinks under a mapping kills its reader by SIGBUS. No lock is
taken and nothing is written: the job does not notice. docs/probe.md says what each value means.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flexlink import probe_layout as layout
from flexlink.errors import FlexlinkError
from flexlink.probe_folders import find
from flexlink.probe_layout import COMM, HEADER, LANE, LINK, RECORD, Structure, name_of, text_of
from flexlink.probe_links import Owner, link_of, owner_of, taken
from flexlink.probe_model import (
    Call,
    Clock,
    Communicator,
    Lane,
    Link,
    Operation,
    Process,
    Record,
    Records,
    Snapshot,
    Wait,
)
from flexlink.process_life import boot_id, pid_namespace, start_time

Fields = dict[str, Any]

_TRIES = 64  # a lane that does operation after operation of 1 us is caught between two of them


class ProbeError(FlexlinkError):
    """A file is no probe file that this version can read; the text says what is wrong with it."""


def _call(word: int, count: int) -> Call:
    collective, root = name_of(layout.COLLECTIVE_NAMES, word & 0xFF), word >> 32
    if collective in layout.ROOTLESS:
        root = layout.NO_RANK  # whatever the writer had there
    return Call(
        collective,
        name_of(layout.TYPE_NAMES, word >> 8 & 0xFF),
        name_of(layout.OP_NAMES, word >> 16 & 0xFF),
        None if root == layout.NO_RANK else root,
        count,
    )


def _life(header: Fields) -> str:
    if header["bootId"] != boot_id():
        return "dead"
    if header["pidNamespace"] != pid_namespace():
        return "unknown"
    return "alive" if start_time(header["pid"]) == header["startTime"] else "dead"


class ProbeReader:
    """An open probe file. Used by one thread; close() it, or use it in a with statement.

    Args:
        path: the file.
    Raises:
        ProbeError: it is no probe file of this layout, is cut off or damaged.
        OSError: it cannot be opened or read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        self._file = os.open(self.path, flags)
        try:
            self._header()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the file. May be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> ProbeReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> Process:
        """The process and all its communicators, now.

        Raises: as the constructor; the file may have been cut off in between.
        """
        header = self._header()
        clock = self._clock(header)
        life = _life(header)
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        view = _View(self, clock, None if life == "dead" else now)
        table = self.pread(layout.HEADER_BYTES, layout.SLOTS * layout.SLOT_BYTES)
        links = view.links()
        found = (view.communicator(slot, table, links) for slot in range(layout.SLOTS))
        return Process(
            path=self.path,
            pid=header["pid"],
            uid=header["uid"],
            program=text_of(header["program"]),
            host=text_of(header["host"]),
            life=life,
            created_unix_ns=header["createdUnixNs"],
            gone_unix_ns=header["goneUnixNs"] or None,
            library_version=header["libraryVersion"],
            opened=header["opened"],
            unrecorded=header["unrecorded"],
            unrecorded_links=header["unrecordedLinks"],
            read_ns=now,
            clock=clock,
            communicators=tuple(one for one in found if one is not None),
        )

    def records(self, slot: int, after: int = 0) -> Records:
        """The completed operations of the communicator in `slot` from number `after` on.

        When `generation` differs from the one asked for before, the slot has a new communicator,
        whose numbers start from 0: ask again with after=0.

        Raises: as read(); ValueError: slot is out of range.
        """
        if not 0 <= slot < layout.SLOTS:
            raise ValueError(f"slot {slot} is not in 0…{layout.SLOTS - 1}")
        clock = self._clock(self._header())
        where = layout.HEADER_BYTES + slot * layout.SLOT_BYTES
        head = self._unpack(COMM, where)
        ring_at = layout.RINGS_OFFSET + slot * layout.RING_BYTES
        before, ring, again = (self.pread(ring_at, layout.RING_BYTES) for _ in range(3))
        generation, written = head["generation"], head["records"]
        if self._unpack(COMM, where)["generation"] != generation:
            return Records((), 0, 0, generation)  # opened anew meanwhile: all this is a mixture
        first = max(after, written - layout.RECORDS, 0)
        got = []
        for number in range(first, written):
            at = number % layout.RECORDS * RECORD.size
            version = (2 * number + 2 & (1 << 64) - 1).to_bytes(8, "little")
            if all(copy[at : at + 8] == version for copy in (before, ring, again)):
                got.append(_record(number, RECORD.unpack(ring, at), clock))
        missed = max(written - after, 0) - len(got)
        return Records(tuple(got), missed, max(written, after), generation)

    def pread(self, offset: int, size: int) -> bytes:
        """Bytes of the file. ProbeError: it is cut off."""
        data = os.pread(self._file, size, offset)
        if len(data) != size:
            raise ProbeError(
                f"{self.path}: cut off: {size} bytes wanted at {offset}, {len(data)} are there"
            )
        return data

    def _unpack(self, structure: Structure, offset: int) -> Fields:
        return structure.unpack(self.pread(offset, structure.size))

    def steady(self, structure: Structure, offset: int, first: bytes) -> tuple[Fields, bool]:
        """Reads a structure with a version until its writer left it alone; `first`: read before.

        Three readings with one even version prove that the middle one is of one piece, in whatever
        order the kernel copied its bytes. Returns the fields, and False when that never came.
        """
        middle = self.pread(offset, structure.size)
        before = first[:8]
        for _ in range(_TRIES):
            last = self.pread(offset, structure.size)
            if before == middle[:8] == last[:8] and before[0] % 2 == 0:
                return structure.unpack(middle), True
            before, middle = middle[:8], last
        return structure.unpack(middle), False

    def _header(self) -> Fields:
        file = os.fstat(self._file)
        if not stat.S_ISREG(file.st_mode):
            raise ProbeError(f"{self.path}: not a file")
        header = self._unpack(HEADER, 0)
        if header["magic"] != layout.MAGIC:
            what = "not finished yet" if header["magic"] == 0 else "not a probe file"
            raise ProbeError(f"{self.path}: {what} (starts with {header['magic']:#x})")
        if header["layout"] != layout.LAYOUT:
            raise ProbeError(
                f"{self.path}: layout {header['layout']}, this version reads {layout.LAYOUT}: "
                "use the flexlink command of the job's own installation"
            )
        for field, expected in layout.EXPECTED_HEADER.items():
            found = header[field]
            if found != expected:
                raise ProbeError(f"{self.path}: damaged: {field} is {found}, not {expected}")
        if file.st_size < layout.FILE_BYTES:
            raise ProbeError(
                f"{self.path}: cut off: {file.st_size} of {layout.FILE_BYTES} bytes are there"
            )
        return header

    def _clock(self, header: Fields) -> Clock:
        offset = HEADER.offsets["clock"]
        fields, _ = self.steady(layout.CLOCK, offset, header["clock"])
        return Clock(
            header["clockKind"] == layout.CLOCK_COUNTER,
            fields["firstTicks"],
            fields["firstNs"],
            fields["lastTicks"],
            fields["lastNs"],
        )


def _record(number: int, raw: Fields, clock: Clock) -> Record:
    outcome = raw["outcome"]
    rank = outcome >> 8 & layout.RECORD_NO_RANK
    wait = Wait(rank, clock.span_ns((outcome >> 32) << 10))
    return Record(
        number=number,
        seq=raw["seq"],
        lane=name_of(layout.LANE_NAMES, raw["call"] >> 24 & 0xFF),
        call=_call(raw["call"], raw["count"]),
        bytes=raw["bytes"],
        start_ns=clock.at_ns(raw["startTicks"]),
        end_ns=clock.at_ns(raw["endTicks"]),
        result=outcome & 0xFF,
        longest_wait=None if rank == layout.RECORD_NO_RANK else wait,
    )


@dataclass(frozen=True)
class _View:
    """One reading of one file. now: CLOCK_MONOTONIC, ns; None: the process is dead."""

    reader: ProbeReader
    clock: Clock
    now: int | None

    def since(self, ticks: int) -> int | None:
        at = self.clock.at_ns(ticks)
        return None if at is None or self.now is None else max(self.now - at, 0)

    def links(self) -> dict[Owner, list[Link]]:
        """All links by their communicator."""
        found: dict[Owner, list[Link]] = {}
        table = self.reader.pread(layout.LINKS_OFFSET, layout.LINKS * LINK.size)
        for at in taken(table):
            first = table[at : at + LINK.size]
            raw, steady = self.reader.steady(LINK, layout.LINKS_OFFSET + at, first)
            if steady or self.now is None:  # of a dead process, what it was just writing counts
                found.setdefault(owner_of(raw), []).append(link_of(raw, self.since))
        return found

    def communicator(
        self, slot: int, table: bytes, links: dict[Owner, list[Link]]
    ) -> Communicator | None:
        """table: the bytes of all slots. None: the slot was never used, or is changing hands."""
        at = slot * layout.SLOT_BYTES
        offset = layout.HEADER_BYTES + at
        first = table[at : at + COMM.size]
        if COMM.unpack(first)["generation"] == 0:
            return None
        raw, steady = self.reader.steady(COMM, offset, first)
        if not steady:
            return None
        lanes = []
        for number in range(layout.LANES):
            lane_at = at + COMM.size + number * LANE.size
            lane = self.lane(number, lane_at, table[lane_at : lane_at + LANE.size])
            if lane is not None:
                lanes.append(lane)
        return Communicator(
            slot=slot,
            generation=raw["generation"],
            id=f"{raw['id']:016x}",
            parent=f"{raw['parent']:016x}" if raw["parent"] else None,
            name=text_of(raw["name"]),
            rank=raw["rankAndRanks"] & layout.NO_RANK,
            ranks=raw["rankAndRanks"] >> 32,
            host=raw["hostAndHosts"] & layout.NO_RANK,
            hosts=raw["hostAndHosts"] >> 32,
            state=name_of(layout.STATE_NAMES, raw["state"]),
            entered=raw["entered"],
            completed=raw["completed"],
            operations=raw["operations"],
            failures=raw["failures"],
            records=raw["records"],
            bytes=sum(lane.bytes for lane in lanes),
            age_ns=self.since(raw["openedTicks"]),
            lanes=tuple(lanes),
            links=tuple(
                sorted(
                    links.get((slot, raw["generation"] & 0xFFFFFFFF), []),
                    key=lambda link: link.index,
                )
            ),
        )

    def lane(self, number: int, at: int, first: bytes) -> Lane | None:
        """None: it has not carried anything."""
        raw = LANE.unpack(first)
        if raw["phase"] == layout.PHASE_IDLE and raw["operations"] == 0:
            return None
        raw, steady = self.reader.steady(LANE, layout.HEADER_BYTES + at, first)
        idle = raw["phase"] == layout.PHASE_IDLE
        return Lane(
            lane=name_of(layout.LANE_NAMES, number),
            operations=raw["operations"],
            bytes=raw["totalBytes"],
            busy_ns=self.clock.span_ns(raw["busyTicks"]),
            waited_ns=self.clock.span_ns(raw["waitedTicks"]),
            now=self.operation(raw) if steady and not idle else None,
            busy=not steady,
        )

    def operation(self, raw: Fields) -> Operation:
        rank, longest = raw["waitRanks"] & layout.NO_RANK, raw["waitRanks"] >> 32
        ended = Wait(longest, self.clock.span_ns(raw["longestWait"]))
        return Operation(
            seq=raw["seq"],
            call=_call(raw["call"], raw["count"]),
            phase=name_of(layout.PHASE_NAMES, raw["phase"]),
            bytes=raw["bytes"],
            bytes_done=raw["bytesDone"],
            running_ns=self.since(raw["startTicks"]),
            waits_for=None if rank == layout.NO_RANK else Wait(rank, self.since(raw["waitSince"])),
            longest_wait=None if longest == layout.NO_RANK else ended,
        )


def snapshot(folders: Iterable[str] | None = None) -> Snapshot:
    """Reads all probe files of `folders`. Never raises for what is in a file."""
    processes = []
    unreadable = []
    for path in find(folders):
        try:
            with ProbeReader(path) as reader:
                processes.append(reader.read())
        except FileNotFoundError:
            continue  # removed since it was listed
        except (ProbeError, OSError, struct.error) as error:
            unreadable.append((path, str(error)))
    return Snapshot(tuple(processes), tuple(unreadable))
