# SPDX-License-Identifier: Apache-2.0
"""Do several sockets for a pair of NICs, MSG_ZEROCOPY or io_uring help? Raw and ours, in turn.

python perf/links/sockets.py [--lo] [--rate MBIT] [--flow MBIT] [--rounds 5] [--kinds raw]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from pathlib import Path

from hosts import RANK, TwoHosts, run, times

RAW = Path(__file__).parent / "raw_rank.py"
# What runs, what it is told by its argument and by its environment.
KINDS: dict[str, tuple[Path, dict[str, object], dict[str, str]]] = {
    "raw, 1 socket": (RAW, {}, {}),
    "raw, 2 sockets": (RAW, {"sockets": 2}, {}),
    "raw, 4 sockets": (RAW, {"sockets": 4}, {}),
    "raw, zero copy": (RAW, {"zerocopy": True}, {}),
    "raw, io_uring": (RAW, {"uring": True}, {}),
    "ours, 1 socket": (RANK, {}, {"FLEXLINK_SOCKETS": "1"}),
    "ours, 2 sockets": (RANK, {}, {"FLEXLINK_SOCKETS": "2"}),
    "ours, 4 sockets": (RANK, {}, {"FLEXLINK_SOCKETS": "4"}),
}


def main() -> None:
    """For each size: the median time and the CPU seconds for each GB, of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lo", action="store_true", help="over loopback, not between namespaces")
    parser.add_argument("--rate", type=int, default=0, help="of the link, Mbit/s; 0: not shaped")
    parser.add_argument("--flow", type=int, default=0, help="of each connection; 0: not limited")
    parser.add_argument("--rounds", type=int, default=5, help="how often each takes its turn")
    parser.add_argument("--kinds", default="", help="those alone that begin so")
    args = parser.parse_args()
    kinds = {kind: what for kind, what in KINDS.items() if kind.startswith(args.kinds)}
    nic = "lo" if args.lo else "fl"
    with contextlib.ExitStack() as stack:
        hosts = None if args.lo else stack.enter_context(TwoHosts([args.rate]))
        if hosts and args.flow:
            hosts.limit_flows(0, args.flow)
        for size, rounds in ((1 << 20, 100), (16 << 20, 20), (64 << 20, 10)):
            took: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
            for _ in range(args.rounds):
                for kind, (program, more, env) in kinds.items():
                    job = {"op": "all_reduce", "bytes": size, "rounds": rounds, "nic": nic, **more}
                    said = run(
                        hosts, job, program=program, NCCL_SOCKET_IFNAME=nic,
                        FLEXLINK_PORT_RANGE="20000-20015", FLEXLINK_PROFILE_CACHE="off", **env,
                    )  # fmt: skip
                    used = sum(rank["cpu"] for rank in said) / (size * rounds / 1e9)
                    took[kind].append((statistics.median(times(said)), used))
            for kind, turns in took.items():
                median = statistics.median(seconds for seconds, _ in turns)
                cpu = statistics.median(used for _, used in turns)
                print(
                    f"{size:9} B {kind:15} {median * 1e6:10.1f} us  {size / median / 1e9:7.3f} GB/s"
                    f"  {cpu:8.2f} CPU s/GB",
                    flush=True,
                )


main()
