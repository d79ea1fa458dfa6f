# SPDX-License-Identifier: Apache-2.0
"""One link that is not shaped: FlexLink, raw sockets both ways, and Gloo, in turn.

python perf/links/unshaped.py [--lo] [--gloo build/peers/gloo/bin/python] [--rounds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from pathlib import Path

from hosts import RANK, TwoHosts, run, times

HERE = Path(__file__).parent


def main() -> None:
    """For each size: the median time and the CPU seconds for each GB, of each of the three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lo", action="store_true", help="over loopback, not between namespaces")
    parser.add_argument("--gloo", help="a Python with torch")
    parser.add_argument("--rounds", type=int, default=5, help="how often each takes its turn")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        hosts = None if args.lo else stack.enter_context(TwoHosts([0]))
        nic = "lo" if args.lo else "fl"
        sides = {"flexlink": (RANK, None), "raw": (HERE / "raw_rank.py", None)}
        if args.gloo:
            sides["gloo"] = (HERE / "gloo_rank.py", args.gloo)
        for size, rounds in ((8, 2000), (1 << 20, 100), (16 << 20, 20), (64 << 20, 10)):
            job = {"op": "all_reduce", "bytes": size, "rounds": rounds, "nic": nic}
            took: dict[str, list[float]] = {side: [] for side in sides}
            cpu: dict[str, list[float]] = {side: [] for side in sides}
            for _ in range(args.rounds):
                for side, (program, python) in sides.items():
                    said = run(hosts, job, program=program, python=python, NCCL_SOCKET_IFNAME=nic)
                    took[side].append(statistics.median(times(said)))
                    used = sum(rank["cpu"] for rank in said)
                    cpu[side].append(used / (size * rounds / 1e9))
            for side in sides:
                median = statistics.median(took[side])
                print(
                    f"{size:9} B {side:9} {median * 1e6:10.1f} us  {size / median / 1e9:7.3f} GB/s"
                    f"  {statistics.median(cpu[side]):8.2f} CPU s/GB",
                    flush=True,
                )


main()
