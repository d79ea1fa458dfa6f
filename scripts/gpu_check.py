# SPDX-License-Identifier: Apache-2.0
"""Runs the steps of gpu_steps.py one after the other and writes down what each of them gave.

scripts/gpu-check [--wheels FOLDER] [--json FILE] [--limit SECONDS] [--only STEP ...] [--dry-run]

For a machine with one GPU, nvcc, torch for CUDA, Python 3.10 or newer and no network. Every step
has its own limit of time, and one that fails does not stop the others. Where something is missing
(a GPU, nvcc, torch, a package), the steps that need it are "not run" with the reason. Exit status:
0 where nothing failed, 1 where a step failed or ran out of time, 2 for wrong usage. FOLDER holds
wheels of what the machine's Python lacks (setuptools cffi cmake ninja pytest pytest-timeout, and
nvidia-nccl where torch has none; docs/gpu-status.md), and may hold Debian's libgtest-dev package.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"
LEAST_SECONDS = 5.0  # a step is not begun with less
VERSION = 1  # of the JSON

Figures = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a step gave. reason: of a failure, or why it was not run. figures: what it measured."""

    status: str
    reason: str = ""
    figures: Figures = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One step. needs: steps or parts of the machine that must be there, by name.

    run gets the seconds that it may take and the machine's facts; it ends by itself within them.
    """

    name: str
    what: str
    limit: float
    needs: tuple[str, ...]
    run: Callable[[float, Figures], Outcome]


@dataclass(frozen=True)
class Record:
    """A finished step."""

    name: str
    status: str
    seconds: float
    reason: str = ""
    figures: Figures = field(default_factory=dict)


def missing(step: Step, machine: Figures, records: Sequence[Record]) -> str:
    """Why `step` cannot run: a part of the machine or an earlier step that it needs; "" if it can.

    The machine says of each part "" (it is there) or why not.
    """
    before = {record.name: record.status for record in records}
    for need in step.needs:
        if need in machine["lacks"] and machine["lacks"][need]:
            return f"no {need}: {machine['lacks'][need]}"
        if need in before and before[need] != PASSED:
            return f"needs '{need}', which was {before[need]}"
    return ""


def run_all(
    steps: Sequence[Step],
    machine: Figures,
    limit: float,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> list[Record]:
    """Runs what can run within `limit` seconds for all together."""
    end = clock() + limit
    records: list[Record] = []
    for step in steps:
        left = end - clock()
        why = missing(step, machine, records)
        if not why and left < LEAST_SECONDS:
            why = f"the {limit:.0f} s of the whole check are over"
        begun = clock()
        if why:
            outcome = Outcome(NOT_RUN, why)
        else:
            say(f"gpu-check: {step.name} (at most {min(step.limit, left):.0f} s): {step.what}")
            try:
                outcome = step.run(min(step.limit, left), machine)
            except Exception as error:  # a step that breaks is a failed one; the others still run
                outcome = Outcome(FAILED, f"{type(error).__name__}: {error}")
        seconds = round(clock() - begun, 1)
        records.append(Record(step.name, outcome.status, seconds, outcome.reason, outcome.figures))
    return records


def planned(steps: Sequence[Step]) -> list[Record]:
    """What --dry-run writes: every step, not run."""
    return [Record(step.name, NOT_RUN, 0.0, f"dry run: {step.what}") for step in steps]


def table(machine: Figures, records: Sequence[Record]) -> str:
    """The short table: what the machine is, a line for each step, and what it measured."""
    lines = [
        f"{key:<8} {machine[key]}"
        for key in ("date", "commit", "device", "driver", "cuda", "vendor", "torch")
        if machine.get(key)
    ]
    lines.append("")
    for record in records:
        lines.append(
            f"{record.name:<14} {record.status:<8} {record.seconds:6.1f} s  {record.reason}"
        )
        for name, value in record.figures.items():
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            lines.append(f"{'':<14}   {name} = {shown}")
    counts = [sum(r.status == status for r in records) for status in (PASSED, FAILED, NOT_RUN)]
    lines += ["", "{} steps passed, {} failed, {} not run".format(*counts)]
    return "\n".join(line.rstrip() for line in lines)


def as_json(machine: Figures, records: Sequence[Record]) -> Figures:
    """The object that is written."""
    return {
        "version": VERSION,
        **machine,
        "steps": [dataclasses.asdict(record) for record in records],
    }


def parse(argv: Sequence[str], names: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="scripts/gpu-check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--wheels", type=Path, help="folder of wheels; nothing is downloaded")
    parser.add_argument("--json", type=Path, default=Path("build/gpu-check/result.json"))
    parser.add_argument("--limit", type=float, default=480.0, help="seconds for all steps (480)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="STEP", help=", ".join(names))
    parser.add_argument("--dry-run", action="store_true", help="list the steps, run none")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The script. argv: its words."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from gpu_steps import Check

    begun = time.monotonic()
    check = Check()
    steps = check.steps()
    options = parse(sys.argv[1:] if argv is None else argv, [step.name for step in steps])
    check.wheels = options.wheels.resolve() if options.wheels else None
    if options.only:
        steps = [step for step in steps if step.name in options.only]
    machine = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), **check.machine()}
    left = options.limit - (time.monotonic() - begun)
    say = lambda text: print(text, flush=True)  # noqa: E731
    records = planned(steps) if options.dry_run else run_all(steps, machine, left, say)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(as_json(machine, records), indent=1) + "\n")
    print(table(machine, records))
    print(f"written to {options.json}")
    return 1 if any(record.status == FAILED for record in records) else 0


if __name__ == "__main__":
    sys.exit(main())
