# SPDX-License-Identifier: Apache-2.0
"""What the probes say, as plain values: numbers in nanoseconds and bytes, names instead of codes.

Nothing here reads anything; flexlink.probe makes these and explains where they come from.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """How ticks of one process become nanoseconds of this host's CLOCK_MONOTONIC."""

    counter: bool  # ticks are the processor's counter, else nanoseconds
    first_ticks: int
    first_ns: int
    last_ticks: int
    last_ns: int

    @property
    def steady(self) -> bool:
        """The two readings make sense together; if not, there are no times."""
        ticks, span = self.last_ticks - self.first_ticks, self.last_ns - self.first_ns
        return 0 < ticks < 1 << 63 and 0 < span < 1 << 63 and span < ticks * 1000

    def span_ns(self, ticks: int) -> int | None:
        """Nanoseconds of so many ticks."""
        if not self.steady:
            return None
        return ticks * (self.last_ns - self.first_ns) // (self.last_ticks - self.first_ticks)

    def at_ns(self, ticks: int) -> int | None:
        """CLOCK_MONOTONIC at a tick."""
        span = self.span_ns(ticks - self.last_ticks)
        return None if span is None else self.last_ns + span


@dataclass(frozen=True)
class Call:
    """What the program called for."""

    collective: str
    type: str
    op: str
    root: int | None  # of send and receive: the peer
    count: int  # elements


@dataclass(frozen=True)
class Wait:
    """How long (ns; None: not known) an operation waited for which rank."""

    rank: int
    ns: int | None


@dataclass(frozen=True)
class Operation:
    """What a lane carries now, or was carrying when its process died."""

    seq: int
    call: Call
    phase: str
    bytes: int
    bytes_done: int
    running_ns: int | None  # since its start; None for a dead process
    waits_for: Wait | None  # now
    longest_wait: Wait | None  # of its waits that have ended


@dataclass(frozen=True)
class Lane:
    """One lane of a communicator. Sums are over its completed operations."""

    lane: str
    operations: int
    bytes: int
    busy_ns: int | None
    waited_ns: int | None
    now: Operation | None  # None: idle, or too fast to be caught
    busy: bool  # operations come so fast that no state could be read between two changes


@dataclass(frozen=True)
class Link:
    """One link to one peer. Bytes and fits are the connection's, for all communicators that use it.

    Attributes:
        index: which of its communicator's links. name: tcp:eth0.
        peer: rank; None where it is of no peer (a NIC that is out). host, host_name: the peer's.
        state: used; never (it was not connected); left (it has failed). why: one phrase.
        bytes_out, bytes_in: payload, what was sent again included. replays: frames sent again.
        bytes_per_s, latency_ns: as the library has fitted them.
        since_ns: for how long it has been in this state; age_ns: since the numbers were true.
    """

    index: int
    name: str
    peer: int | None
    host: int
    host_name: str
    state: str
    why: str
    bytes_out: int
    bytes_in: int
    replays: int
    bytes_per_s: int
    latency_ns: int
    since_ns: int | None
    age_ns: int | None


@dataclass(frozen=True)
class Communicator:
    """One rank's view of one communicator."""

    slot: int
    generation: int
    id: str  # 16 hex digits, equal on all ranks
    parent: str | None
    name: str
    rank: int
    ranks: int
    host: int
    hosts: int
    state: str
    entered: int  # operations that the program has called for
    completed: int  # highest completed operation number + 1
    operations: int
    failures: int
    records: int
    bytes: int
    age_ns: int | None
    lanes: tuple[Lane, ...]  # those that have carried something
    links: tuple[Link, ...]  # by index


@dataclass(frozen=True)
class Process:
    """One process at one moment."""

    path: str
    pid: int
    uid: int
    program: str
    host: str
    life: str  # alive, dead, unknown (it is in another pid namespace)
    created_unix_ns: int
    gone_unix_ns: int | None  # when it was first found dead
    library_version: int
    opened: int
    unrecorded: int  # communicators that found no slot and are not shown
    unrecorded_links: int  # links that found no place and are not shown
    read_ns: int  # CLOCK_MONOTONIC of this reading
    clock: Clock
    communicators: tuple[Communicator, ...]


@dataclass(frozen=True)
class Record:
    """One completed operation. Times: CLOCK_MONOTONIC, ns; None: not known."""

    number: int  # in its communicator's ring, from 0
    seq: int
    lane: str
    call: Call
    bytes: int
    start_ns: int | None
    end_ns: int | None
    result: int  # ncclResult_t
    longest_wait: Wait | None  # to 1024 ticks


@dataclass(frozen=True)
class Records:
    """Records of one communicator since a number, oldest first."""

    records: tuple[Record, ...]
    missed: int  # overwritten, or being written, before they could be read
    next: int  # what to ask for the next time
    generation: int


@dataclass(frozen=True)
class Snapshot:
    """All processes that could be read, and why the others could not: (path, reason)."""

    processes: tuple[Process, ...]
    unreadable: tuple[tuple[str, str], ...]
