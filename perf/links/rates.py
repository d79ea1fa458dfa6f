# SPDX-License-Identifier: Apache-2.0
"""How fast an AllReduce follows a link whose rate changes tenfold, down and up again.

python perf/links/rates.py [--links 2000,1000] [--change 0:200] [--mbytes 4] [--times 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from faults import await_busy
from hosts import TwoHosts, run, times

PART = 1.5  # seconds before, during and after the change
SETTLED = 1.0  # of each part, when it is certainly over


def follow(rates: list[int], index: int, other: int, size: int) -> tuple[list[float], list[float]]:
    """Milliseconds from each change to the first round at 95 % of the new rate, and the rates of
    the three parts in GB/s."""
    changes: list[float] = []

    def meanwhile(folder: Path) -> None:
        await_busy(folder)
        for rate in (other, rates[index]):
            time.sleep(PART)
            hosts.set_rate(index, rate)
            changes.append(time.monotonic())
        time.sleep(PART)

    with TwoHosts(rates) as hosts:
        said = run(hosts, {"op": "all_reduce", "bytes": size, "seconds": 3 * PART + 0.3}, meanwhile)
    rounds = list(zip(said[0]["starts"], times(said), strict=True))
    begins = [changes[0] - PART, *changes]
    steady = [
        statistics.median(
            took for start, took in rounds if begin + SETTLED < start < begin + PART - 0.05
        )
        for begin in begins
    ]
    delays = [
        min(
            (start + took for start, took in rounds if start > change and took < now / 0.95),
            default=float("inf"),
        )
        - change
        for change, now in zip(changes, steady[1:], strict=True)
    ]
    return [1e3 * delay for delay in delays], [size / 1e9 / one for one in steady]


def main() -> None:
    """Prints a row for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--links", default="2000,1000")
    parser.add_argument("--change", default="0:200")
    parser.add_argument("--mbytes", type=int, default=4)
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    rates = [int(word) for word in args.links.split(",")]
    index, other = (int(word) for word in args.change.split(":"))
    for _ in range(args.times):
        delays, steady = follow(rates, index, other, args.mbytes << 20)
        print(
            f"{args.links:12} link {index} to {other} Mbit/s and back: rates "
            + " ".join(f"{one:.3f}" for one in steady)
            + " GB/s, 95 % of the new rate after "
            + " ".join(f"{delay:.0f}" for delay in delays)
            + " ms",
            flush=True,
        )


main()
