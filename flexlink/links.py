# SPDX-License-Identifier: Apache-2.0
"""`flexlink links`: what the running jobs of this user do, seen from outside through their probes.

It shows and judges nothing: communicators, lanes, links, operations, bytes, who waits for whom.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flexlink import probe, probe_folders
from flexlink.link_table import LinkKey, LinkRate, key_of, link_lines, link_rates, shares
from flexlink.probe_model import Communicator, Lane, Process, Snapshot
from flexlink.text_table import amount, columns, duration, ranges

Key = tuple[str, int, int]  # file, slot, generation: one rank of one communicator

# Ranks are read one after the other: below this, that one is behind may only be the reading.
_LONG_WAIT_NS = 100_000_000

_ROOTED = ("Broadcast", "Reduce", "Gather", "Scatter")
_FOLDING = ("AllReduce", "Reduce", "ReduceScatter")


@dataclass(frozen=True)
class Rate:
    """Of one rank of one communicator between two readings."""

    operations_per_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class Row:
    """One rank of one communicator."""

    process: Process
    comm: Communicator
    rate: Rate | None


def rates(before: Snapshot | None, after: Snapshot) -> dict[Key, Rate]:
    """Operations and bytes per second of everything that is in both readings."""
    if before is None:
        return {}
    old = {_key(process, comm): (process, comm) for process, comm in _members(before)}
    found = {}
    for process, comm in _members(after):
        key = _key(process, comm)
        if key not in old:
            continue
        then, was = old[key]
        seconds = (process.read_ns - then.read_ns) / 1e9
        if seconds > 0:
            found[key] = Rate(
                (comm.operations - was.operations) / seconds, (comm.bytes - was.bytes) / seconds
            )
    return found


def _members(seen: Snapshot) -> Iterable[tuple[Process, Communicator]]:
    return ((process, comm) for process in seen.processes for comm in process.communicators)


def _key(process: Process, comm: Communicator) -> Key:
    return process.path, comm.slot, comm.generation


def groups(seen: Snapshot, rate: Mapping[Key, Rate], everything: bool) -> list[list[Row]]:
    """Rows by communicator, ordered by rank.

    everything: also communicators of which no rank lives any more or that are closed.
    """
    by_id: dict[str, list[Row]] = {}
    for process, comm in _members(seen):
        row = Row(process, comm, rate.get(_key(process, comm)))
        by_id.setdefault(comm.id, []).append(row)
    shown = [rows for rows in by_id.values() if everything or any(map(_in_use, rows))]
    for rows in shown:
        rows.sort(key=lambda row: (row.comm.rank, row.process.pid, row.comm.slot))
    return sorted(shown, key=lambda rows: (-rows[0].comm.ranks, rows[0].comm.id))


def _in_use(row: Row) -> bool:
    return row.process.life != "dead" and row.comm.state not in ("closed", "aborted")


def doing(row: Row) -> str:
    """What the rank does now, in a few words."""
    lanes = [lane for lane in row.comm.lanes if lane.now is not None]
    if lanes:
        return "; ".join(_operation(lane) for lane in lanes)
    if any(lane.busy for lane in row.comm.lanes):
        return "one operation after the other"
    if row.comm.entered > row.comm.completed:
        return f"{row.comm.entered - row.comm.completed} queued"
    return "idle"


def _operation(lane: Lane) -> str:
    now = lane.now
    assert now is not None
    call = now.call
    what = f"{call.collective} {call.count} {call.type}"
    if call.collective in _FOLDING:
        what += f" {call.op}"
    if call.root is not None:
        what += f" {'root' if call.collective in _ROOTED else 'peer'} {call.root}"
    done = f" {100 * now.bytes_done // now.bytes}%" if now.bytes > 0 else ""
    return f"#{now.seq} {what}, {now.phase}{done}, {duration(now.running_ns)}"


def waits(row: Row) -> list[tuple[int, int | None]]:
    """(rank, ns) for each rank that this one waits for now."""
    found = []
    for lane in row.comm.lanes:
        if lane.now is not None and lane.now.waits_for is not None:
            found.append((lane.now.waits_for.rank, lane.now.waits_for.ns))
    return found


def holding_up(rows: Sequence[Row]) -> list[str]:
    """A line for each rank that others have been waiting for, and what is known of it itself."""
    waiters: dict[int, list[tuple[Row, int]]] = {}
    for row in rows:
        for rank, nanos in waits(row):
            if nanos is not None and nanos >= _LONG_WAIT_NS:
                waiters.setdefault(rank, []).append((row, nanos))
    lines = []
    for rank, waiting in sorted(waiters.items()):
        longest = max(nanos for _, nanos in waiting)
        who = ranges(sorted({row.comm.rank for row, _ in waiting}))
        lines.append(f"rank {rank} is awaited by rank {who}, {duration(longest)}: ")
        lines[-1] += _whereabouts(rank, rows)
    return lines


def _whereabouts(rank: int, rows: Sequence[Row]) -> str:
    row = next((row for row in rows if row.comm.rank == rank), None)
    if row is None:
        return "it is not seen on this machine"
    if row.process.life == "dead":
        return f"its process {row.process.pid} is dead"
    what = doing(row)
    if what == "idle":
        # No number is compared: each rank counts its own calls, and sends are nobody else's.
        return f"its process {row.process.pid} is in no operation of this communicator"
    return f"it is at {what}"


def _not_seen(rows: Sequence[Row]) -> list[int]:
    seen = {row.comm.rank for row in rows}
    # A damaged file may claim any number of ranks.
    return [rank for rank in range(min(rows[0].comm.ranks, 1 << 16)) if rank not in seen]


def _cells(row: Row) -> list[str]:
    comm, process = row.comm, row.process
    state = comm.state if process.life == "alive" else f"{comm.state}, process {process.life}"
    speed = f"{row.rate.operations_per_s:.0f}/s" if row.rate else ""
    flow = f"{amount(row.rate.bytes_per_s)}/s" if row.rate else ""
    lanes = ", ".join(f"{lane.lane} {amount(lane.bytes)}" for lane in comm.lanes)
    awaited = ", ".join(f"rank {rank} {duration(ns)}" for rank, ns in waits(row))
    return [
        str(comm.rank),
        str(process.pid),
        process.program,
        state,
        str(comm.operations),
        speed,
        lanes or "-",
        flow,
        doing(row),
        awaited or "-",
    ]


HEADINGS = ["rank", "pid", "program", "state", "ops", "", "bytes by lane", "", "now", "waits for"]


def group_text(rows: Sequence[Row], flow: Mapping[LinkKey, LinkRate]) -> list[str]:
    """The lines of one communicator."""
    comm = rows[0].comm
    name = f' "{comm.name}"' if comm.name else ""
    parent = f", split from {comm.parent}" if comm.parent else ""
    hosts = f", {comm.hosts} hosts" if comm.hosts > 1 else ""
    lines = [f"communicator {comm.id}{name}: {comm.ranks} ranks{hosts}{parent}"]
    lines += columns(HEADINGS, [_cells(row) for row in rows])
    lines += link_lines(((row.process, row.comm) for row in rows), flow)
    absent = _not_seen(rows)
    if absent:
        lines.append(f"  not seen on this machine: rank {ranges(absent)}")
    lines += ["  " + line for line in holding_up(rows)]
    return lines


def table_text(
    seen: Snapshot,
    rate: Mapping[Key, Rate],
    flow: Mapping[LinkKey, LinkRate],
    everything: bool,
) -> str:
    """The whole output for people."""
    lines: list[str] = []
    for rows in groups(seen, rate, everything):
        lines += [*group_text(rows, flow), ""]
    for process in seen.processes:
        for number, what in (
            (process.unrecorded, "communicators"),
            (process.unrecorded_links, "links"),
        ):
            if number and (everything or process.life != "dead"):
                more = f"{number} more {what}, for which its probe had no room"
                lines.append(f"pid {process.pid}: {more}")
    lines += [f"unreadable: {reason}" for _, reason in seen.unreadable]
    hidden = sum(process.life == "dead" for process in seen.processes)
    if hidden and not everything:
        lines.append(f"processes that have ended: {hidden}; --all shows what they left")
    return "\n".join(lines).rstrip("\n")


def as_json(
    seen: Snapshot, rate: Mapping[Key, Rate], flow: Mapping[LinkKey, LinkRate]
) -> dict[str, Any]:
    """Everything that was read; docs/probe.md names the fields."""
    processes = []
    for process in seen.processes:
        fields = dataclasses.asdict(process)
        for comm, out in zip(process.communicators, fields["communicators"], strict=True):
            found = rate.get(_key(process, comm))
            out["rate"] = None if found is None else dataclasses.asdict(found)
            part = shares(process, comm, flow)
            for link, shown in zip(comm.links, out["links"], strict=True):
                moved = flow.get(key_of(process, comm, link))
                shown["rate"] = None if moved is None else dataclasses.asdict(moved)
                shown["share"] = part.get(link.index)
        processes.append(fields)
    return {
        "version": 1,
        "unix_ns": time.time_ns(),
        "processes": processes,
        "unreadable": [{"path": path, "reason": reason} for path, reason in seen.unreadable],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flexlink links",
        description="Shows communicators, lanes, links, operations and bytes of this user's "
        "running jobs, and who waits for whom. It only reads; the jobs do not notice.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each reading")
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=_seconds,
        const=1.0,
        help="read again and again, with rates; every second, or as often as said",
    )
    parser.add_argument("--count", metavar="N", type=int, help="end --watch after N readings")
    parser.add_argument(
        "--all", action="store_true", help="also closed communicators and dead processes"
    )
    parser.add_argument(
        "--folder",
        action="append",
        help="where the probe files are (may be repeated); default: " + ", ".join(_where(None)),
    )
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.01 and 86400 seconds")
    return value


def _where(folders: Sequence[str] | None) -> Sequence[str]:
    return probe_folders.run_folders() if folders is None else folders


def _show(options: argparse.Namespace, before: Snapshot | None, seen: Snapshot) -> None:
    rate, flow = rates(before, seen), link_rates(before, seen)
    if options.json:
        print(json.dumps(as_json(seen, rate, flow)), flush=True)
        return
    text = table_text(seen, rate, flow, options.all)
    if options.watch is not None and sys.stdout.isatty():
        print("\x1b[H\x1b[2J", end="")
    if text:
        print(text + ("\n" if options.watch is not None else ""), flush=True)
    if not groups(seen, {}, options.all):
        folders = ", ".join(_where(options.folder))
        print(f"no FlexLink process of this user is running; looked in {folders}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """The subcommand. argv: the words after `links`. Returns 0; Ctrl-C ends --watch."""
    options = _parser().parse_args(argv)
    before = None
    shown = 0
    try:
        while True:
            seen = probe.snapshot(options.folder)
            _show(options, before, seen)
            shown += 1
            if options.watch is None or shown == options.count:
                return 0
            before = seen
            time.sleep(options.watch)
    except KeyboardInterrupt:
        return 0
