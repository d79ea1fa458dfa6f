# SPDX-License-Identifier: Apache-2.0
"""Runs the whole comparison against the peers, keeps the raw rows as CSV, makes README's tables.

``collect.py run OUT.csv [--peers a,b] [--collectives a,b] [--ranks 2] [--buffers malloc] ...``
``collect.py table IN.csv [IN2.csv ...]``
Standard library only. Use it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median

CHECKOUT = Path(__file__).resolve().parent.parent
COLLECTIVES = ["all_reduce", "all_gather", "reduce_scatter", "broadcast", "alltoall"]
PEERS = ["ompi", "mpich", "impi", "oneccl", "gloo"]
# (from, to, factor): small messages are told apart by latency, large ones by bandwidth.
SIZES = [("32", "1K", "32"), ("64K", "256M", "4")]
LATENCY = ("8", "8", "2")  # only all_reduce keeps 8 bytes: blocks are cut to 16 on each rank

Row = dict[str, str]


def find_program(asked: str | None) -> Path:
    """The benchmark: what was asked for, else the newest build."""
    if asked:
        return Path(asked)
    built = sorted(
        (CHECKOUT / "build").glob("*/perf/flexlink_perf"), key=lambda path: path.stat().st_mtime
    )
    if not built:
        sys.exit(
            "collect.py: no build/*/perf/flexlink_perf; run scripts/run once, or give --program"
        )
    return built[-1]


def compare(program: Path, words: list[str]) -> tuple[list[Row], str]:
    """One run of flexlink_perf --vs: its rows, and its comment lines or the reason of a failure."""
    done = subprocess.run([str(program), *words, "--csv"], capture_output=True, text=True)
    notes = [line for line in done.stdout.splitlines() if line.startswith("#")]
    if done.returncode != 0:
        reason = [line for line in done.stderr.splitlines() if "flexlink_perf:" in line]
        return [], (reason or [f"status {done.returncode}"])[-1]
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    return list(csv.DictReader(lines)), "; ".join(notes)


def core_distance(program: Path) -> str:
    """Microseconds of one hand-over of a flag between the two cores, as they lie just now."""
    beside = program.with_name("flexlink_handover")
    done = subprocess.run([str(beside)], capture_output=True, text=True, check=True)
    return str(median(float(line.split()[3]) for line in done.stdout.splitlines()[1:]))


def plan(options: argparse.Namespace) -> Iterable[tuple[str, list[str]]]:
    """(peer, words of flexlink_perf) of every run, small sizes first."""
    for collective in options.collectives.split(","):
        sizes = [LATENCY, *SIZES] if collective == "all_reduce" else SIZES
        for peer in options.peers.split(","):
            for first, last, factor in sizes:
                words = [collective, "--vs", peer, "-b", first, "-e", last, "-f", factor]
                words += ["--ranks", options.ranks, "--rounds", options.rounds]
                words += ["--malloc", options.malloc, "--buffers", options.buffers]
                yield peer, words


def run(options: argparse.Namespace) -> int:
    """Writes OUT.csv row by row, so that a stopped collection keeps what it had."""
    program = find_program(options.program)
    writer: csv.DictWriter[str] | None = None
    with open(options.out, "w", newline="") as file:
        for peer, words in plan(options):
            ping = core_distance(program)
            rows, note = compare(program, words)
            said = f"{' '.join(words)}: ping {ping} us; {len(rows)} rows; {note}"
            print(said, file=sys.stderr, flush=True)
            for row in rows:
                row.update(malloc=options.malloc, buffers=options.buffers, ping_us=ping)
                if writer is None:
                    writer = csv.DictWriter(file, list(row), lineterminator="\n")
                    writer.writeheader()
                writer.writerow({**row, "peer": peer})
            file.flush()
    return 0 if writer else 1


def peer_name(row: Row) -> str:
    """The peer with the setting that it was measured with."""
    return row["peer"] + ("-nommap" if row["malloc"] == "nommap" else "")


def cell(row: Row, side: str) -> str:
    """GB/s, or µs below 64 KiB, where time is what counts."""
    if int(row["size"]) < 65536:
        return f"{float(row[side + '_us']):.2f} µs"
    return f"{float(row[side + '_busbw']):.2f}"


def table_line(rows: list[Row], peers: list[str]) -> list[str]:
    """One line for one (collective, size): ours, each peer with its ratio, bound, aim."""
    size, first = int(rows[0]["size"]), rows[0]
    middle = sorted(rows, key=lambda row: float(row["ours_us"]))[len(rows) // 2]
    by_peer = {peer_name(row): row for row in rows}
    cells = [first["collective"], str(size), cell(middle, "ours")]
    for peer in peers:
        row = by_peer.get(peer)
        cells.append(f"{cell(row, 'theirs')} ({float(row['ratio']):.2f} ×)" if row else "–")
    worst = min(float(row["ratio"]) for row in rows)
    if size < 65536:
        return [*cells, f"{worst:.2f}", "–", "–"]
    share = median(float(row["ours_busbw"]) / float(row["bound_busbw"]) for row in rows)
    met = worst >= 1.3 or share >= 0.9
    bound = median(float(row["bound_busbw"]) for row in rows)
    return [*cells, f"{worst:.2f}", f"{bound:.1f} ({share:.0%})", "yes" if met else "no"]


def table(options: argparse.Namespace) -> int:
    """Markdown for README.md, one table for each number of ranks and kind of buffer."""
    rows: list[Row] = []
    for name in options.files:
        with open(name, newline="") as file:
            rows += list(csv.DictReader(file))
    for ranks, buffers in sorted({(row["ranks"], row["buffers"]) for row in rows}):
        chosen = [row for row in rows if (row["ranks"], row["buffers"]) == (ranks, buffers)]
        peers = sorted({peer_name(row) for row in chosen})
        print(f"\n### {ranks} ranks, {buffers} buffers\n")
        heads = ["collective", "bytes", "FlexLink", *peers, "worst ratio", "bound (share)", "aim"]
        print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
        order = {name: i for i, name in enumerate(COLLECTIVES)}
        keys = {(row["collective"], int(row["size"])) for row in chosen}
        for key in sorted(keys, key=lambda k: (order.get(k[0], 99), k)):
            same = [row for row in chosen if (row["collective"], int(row["size"])) == key]
            print("| " + " | ".join(table_line(same, peers)) + " |")
    return 0


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True)
    runner = commands.add_parser("run", help="measure")
    runner.add_argument("out")
    runner.add_argument("--program")
    runner.add_argument("--peers", default=",".join(PEERS))
    runner.add_argument("--collectives", default=",".join(COLLECTIVES))
    runner.add_argument("--ranks", default="2")
    runner.add_argument("--rounds", default="21")
    runner.add_argument("--malloc", default="default", choices=["default", "nommap"])
    runner.add_argument("--buffers", default="malloc", choices=["malloc", "ncclMemAlloc"])
    runner.set_defaults(action=run)
    tabulator = commands.add_parser("table", help="Markdown from the raw rows")
    tabulator.add_argument("files", nargs="+")
    tabulator.set_defaults(action=table)
    options = parser.parse_args()
    action = options.action
    return int(action(options))


if __name__ == "__main__":
    sys.exit(main())
