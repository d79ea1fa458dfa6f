# SPDX-License-Identifier: Apache-2.0
"""An AllReduce of two ranks over several shaped links, and the kernel's MPTCP that carries as many
bytes both ways at once over the same links, in turn.

python perf/links/mptcp.py [MBYTES...] [--links 4000,2000,1000] [--turns 5] [--rounds 10]

With two ranks an AllReduce of n bytes sends and receives n bytes at each of them. MPTCP moves them
as they are; the AllReduce also adds. Aim: never below MPTCP, 1.1 times for 4000,2000,1000 at 64.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from hosts import RANK, TwoHosts, run, times

RAW = Path(__file__).parent / "raw_rank.py"
SETS = ("4000,2000,1000", "2000,2000")


def allow_mptcp(hosts: TwoHosts) -> None:
    """Host 0 announces its other addresses; host 1 makes a subflow to each."""
    for side in (0, 1):
        for words in (
            ["sysctl", "-qw", "net.mptcp.enabled=1"],
            ["ip", "mptcp", "limits", "set", "subflow", "8", "add_addr_accepted", "8"],
        ):
            done = subprocess.run(hosts.command(side, words), capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"no MPTCP here: {' '.join(words)}: {done.stderr.strip()}")
    for link in range(1, len(hosts.rates)):
        words = ["ip", "mptcp", "endpoint", "add", f"10.77.{link}.1", "dev", f"fl{link}a", "signal"]
        subprocess.run(hosts.command(0, words), check=True)


def shares(before: list[int], after: list[int]) -> str:
    """What each link has carried meanwhile, in percent."""
    moved = [late - early for early, late in zip(before, after, strict=True)]
    return "/".join(f"{100 * one / sum(moved):.0f}" for one in moved)


def compare(rates: list[int], size: int, turns: int, rounds: int) -> str:
    """GB/s of both, the medians of the turns' medians, and their ratio."""
    kinds = {"flexlink": (RANK, {}), "mptcp": (RAW, {"mptcp": True, "nic": "fl"})}
    seen: dict[str, list[float]] = {kind: [] for kind in kinds}
    split = {}
    with TwoHosts(rates) as hosts:
        allow_mptcp(hosts)
        for _ in range(turns):
            for kind, (program, more) in kinds.items():
                before = hosts.sent(0)
                job = {"op": "all_reduce", "bytes": size, "rounds": rounds, **more}
                seen[kind].append(statistics.median(times(run(hosts, job, program=program))))
                split[kind] = shares(before, hosts.sent(0))
    ours, theirs = (size / statistics.median(seen[kind]) / 1e9 for kind in kinds)
    each = " ".join(f"{b / a:.2f}" for a, b in zip(*seen.values(), strict=True))
    return (
        f"flexlink {ours:.3f} GB/s ({split['flexlink']} %)  mptcp {theirs:.3f} GB/s"
        f" ({split['mptcp']} %)  ratio {ours / theirs:.2f} ({each})"
    )


def main() -> None:
    """Prints a row for each set of links and size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("mbytes", nargs="*", type=int, default=[16, 64])
    parser.add_argument("--links", action="append")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    if os.getloadavg()[0] > 1:
        print(f"# the load is {os.getloadavg()[0]:.1f}: figures of a busy machine", flush=True)
    for links in args.links or SETS:
        rates = [int(word) for word in links.split(",")]
        for size in args.mbytes:
            row = compare(rates, size << 20, args.turns, args.rounds)
            print(f"{links:16} {size:4} MiB  {row}", flush=True)


if __name__ == "__main__":
    main()
