# SPDX-License-Identifier: Apache-2.0
"""AllReduce and AllGather over several shaped links, against what each reaches alone.

python perf/links/sums.py [MBYTES...] [--links 4000,2000,1000] [--rounds 20] [--traffic 1]
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from hosts import TwoHosts, rate

SETS = ("4000,2000,1000", "2000,2000", "4000,500", "1000,1000,1000,1000")


@contextlib.contextmanager
def traffic(hosts: TwoHosts, link: int | None) -> Iterator[None]:
    """Somebody else's TCP connection over a link, both ways as fast as it goes."""
    ends: list[subprocess.Popen[bytes]] = []
    if link is not None:
        flow = [sys.executable, str(Path(__file__).parent / "traffic.py"), f"10.77.{link}.1"]
        ends = [
            subprocess.Popen(hosts.command(side, [*flow, role]))
            for side, role in enumerate(("listen", "dial"))
        ]
    try:
        yield
    finally:
        for end in ends:
            end.kill()
            end.wait()


def main() -> None:
    """Prints a row for each set of links, collective and size: alone, sum, together, ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mbytes", nargs="*", type=int, default=[16, 64])
    parser.add_argument("--links", action="append")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--ops", default="all_reduce,all_gather")
    parser.add_argument("--traffic", type=int, help="number of a link that others use as well")
    args = parser.parse_args()
    for links in args.links or SETS:
        rates = [int(word) for word in links.split(",")]
        with TwoHosts(rates) as hosts, traffic(hosts, args.traffic):
            for op in args.ops.split(","):
                for size in args.mbytes:
                    job = {"op": op, "bytes": size << 20, "rounds": args.rounds}
                    before, cpu = rate(hosts, job)
                    alone = [
                        rate(hosts, job, NCCL_SOCKET_IFNAME=f"fl{i}")[0] for i in range(len(rates))
                    ]
                    after, _ = rate(hosts, job)
                    best = max(before, after)
                    print(
                        f"{links:22} {op:10} {size:4} MiB  alone "
                        + " ".join(f"{one:.3f}" for one in alone)
                        + f" = {sum(alone):.3f}  together {before:.3f} {after:.3f} GB/s"
                        f"  {best / sum(alone):.3f}  {cpu:.2f} CPU s/GB",
                        flush=True,
                    )


main()
