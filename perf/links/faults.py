# SPDX-License-Identifier: Apache-2.0
"""What a cut, a silent loss and a repair cost an AllReduce that goes on all the time.

python perf/links/faults.py [--times 5] [--links 2000,1000] [--mbytes 16]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hosts import TwoHosts, run, times

BEFORE = 1.0  # seconds of undisturbed rounds
BROKEN = 1.5  # until the repair
AFTER = 3.0


def await_busy(folder: Path) -> None:
    """Until rank 0 has warmed up."""
    deadline = time.monotonic() + 60
    while not (folder / "busy0").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kinds(hosts: TwoHosts, index: int) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
    """What breaks link `index`, and what mends it."""
    return {
        "down here": (
            lambda: hosts.set_link(index, "down", 0),
            lambda: hosts.set_link(index, "up", 0),
        ),
        "down there": (
            lambda: hosts.set_link(index, "down", 1),
            lambda: hosts.set_link(index, "up", 1),
        ),
        "silent": (
            lambda: hosts.set_silent(index, True),
            lambda: hosts.set_silent(index, False),
        ),
    }


def break_and_mend(rates: Sequence[int], kind: str, index: int, size: int) -> dict[str, Any]:
    """Milliseconds that the slowest round lost by it, and from the repair to a new MiB over the
    link; every element of every round is checked by the ranks."""
    seen: dict[str, float] = {}

    def meanwhile(folder: Path) -> None:
        break_it, mend = kinds(hosts, index)[kind]
        await_busy(folder)
        time.sleep(BEFORE)
        seen["cut"] = time.monotonic()
        break_it()
        time.sleep(BROKEN)
        before = hosts.sent(0)[index]
        seen["mended"] = time.monotonic()
        mend()
        while time.monotonic() < seen["mended"] + AFTER:
            if hosts.sent(0)[index] > before + (1 << 20):
                seen["back"] = time.monotonic()
                return
            time.sleep(0.02)

    with TwoHosts(rates) as hosts:
        job = {"op": "all_reduce", "bytes": size, "seconds": BEFORE + BROKEN + AFTER}
        said = run(hosts, job, meanwhile)
    took = times(said)
    starts = said[0]["starts"]
    usual = statistics.median(
        one for one, start in zip(took, starts, strict=True) if start + one < seen["cut"]
    )
    slow = max(
        one
        for one, start in zip(took, starts, strict=True)
        if start + one > seen["cut"] and start < seen["mended"]
    )
    back = seen["back"] - seen["mended"] if "back" in seen else float("inf")
    return {"usual_ms": usual * 1e3, "added_ms": (slow - usual) * 1e3, "back_ms": back * 1e3}


def main() -> None:
    """Prints a row for each kind of fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--links", default="2000,1000")
    parser.add_argument("--mbytes", type=int, default=16)
    args = parser.parse_args()
    rates = [int(word) for word in args.links.split(",")]
    for kind in ("down here", "down there", "silent"):
        for index in range(len(rates)):
            rows = [
                break_and_mend(rates, kind, index, args.mbytes << 20) for _ in range(args.times)
            ]
            print(
                f"{args.links:16} link {index} {kind:10}  usual {rows[0]['usual_ms']:6.1f} ms"
                "  added " + " ".join(f"{row['added_ms']:.0f}" for row in rows) + " ms"
                "  back after " + " ".join(f"{row['back_ms']:.0f}" for row in rows) + " ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
