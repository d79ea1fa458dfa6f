# SPDX-License-Identifier: Apache-2.0
"""A slow link beside a fast one: both against the fast one alone, in interleaved pairs of runs.

python perf/links/beside.py [BYTES...] [--links 4000,100] [--pairs 20] [--op all_reduce]
"""

from __future__ import annotations

import argparse
import statistics

from hosts import TwoHosts, run, times

SIZES = [8, 1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20]


def rounds_of(size: int) -> int:
    """Enough for a median, within about a second."""
    return max(5, min(500, (64 << 20) // max(size, 1)))


def main() -> None:
    """Prints for each size the median times and the median and quartiles of the pairs' ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bytes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--links", default="4000,100", help="Mbit/s; the first is the fast one")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--op", default="all_reduce")
    args = parser.parse_args()
    with TwoHosts([int(word) for word in args.links.split(",")]) as hosts:
        for size in args.bytes:
            job = {"op": args.op, "bytes": size, "rounds": rounds_of(size)}
            pairs = []
            for _ in range(args.pairs):
                alone, both = (
                    statistics.median(times(run(hosts, job, NCCL_SOCKET_IFNAME=nics)))
                    for nics in ("fl0", "fl")
                )
                pairs.append((alone, both))
            ratios = [alone / both for alone, both in pairs]
            low, middle, high = statistics.quantiles(ratios, n=4)
            alone, both = (statistics.median(side) for side in zip(*pairs, strict=True))
            print(
                f"{size:10} B  alone {alone * 1e6:10.1f} us  both {both * 1e6:10.1f} us"
                f"  ratio {middle:.3f} ({low:.3f}-{high:.3f})",
                flush=True,
            )


main()
