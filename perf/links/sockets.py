# SPDX-License-Identifier: Apache-2.0
"""Would several sockets for each pair of NICs, or MSG_ZEROCOPY, be faster? Raw sockets, in turn.

python perf/links/sockets.py [--lo] [--rate MBIT] [--rounds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from pathlib import Path

from hosts import TwoHosts, run, times

KINDS = {
    "1 socket": {},
    "2 sockets": {"sockets": 2},
    "4 sockets": {"sockets": 4},
    "zero copy": {"zerocopy": True},
}


def main() -> None:
    """For each size: the median time and the CPU seconds for each GB, of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lo", action="store_true", help="over loopback, not between namespaces")
    parser.add_argument("--rate", type=int, default=0, help="of the link, Mbit/s; 0: not shaped")
    parser.add_argument("--rounds", type=int, default=5, help="how often each takes its turn")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        hosts = None if args.lo else stack.enter_context(TwoHosts([args.rate]))
        for size, rounds in ((1 << 20, 100), (16 << 20, 20), (64 << 20, 10)):
            took: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
            for _ in range(args.rounds):
                for kind, more in KINDS.items():
                    job = {
                        "op": "",
                        "bytes": size,
                        "rounds": rounds,
                        "nic": "lo" if args.lo else "fl",
                    }
                    said = run(
                        hosts, {**job, **more}, program=Path(__file__).parent / "raw_rank.py"
                    )
                    used = sum(rank["cpu"] for rank in said) / (size * rounds / 1e9)
                    took[kind].append((statistics.median(times(said)), used))
            for kind, turns in took.items():
                median = statistics.median(seconds for seconds, _ in turns)
                cpu = statistics.median(used for _, used in turns)
                print(
                    f"{size:9} B {kind:9} {median * 1e6:10.1f} us  {size / median / 1e9:7.3f} GB/s"
                    f"  {cpu:8.2f} CPU s/GB",
                    flush=True,
                )


main()
