# SPDX-License-Identifier: Apache-2.0
"""A step of examples/ddp.py on two hosts, with Gloo over its best link and FlexLink over all.

python perf/links/ddp.py [--links 4000,2000,1000] [--rounds 5] [--gloo fl0] [OPTIONS OF THE EXAMPLE]
python perf/links/ddp.py --bound ...    perf/ddp_bound.py in its place: what of it is communication
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from hosts import TwoHosts

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Prints what rank 0 says: both medians and their ratio, from steps in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--links", default="4000,2000,1000", help="Mbit/s")
    parser.add_argument("--rounds", default="5")
    parser.add_argument("--gloo", default="fl0", help="links of Gloo; fl0,fl1 takes turns on both")
    parser.add_argument("--bound", action="store_true", help="perf/ddp_bound.py")
    args, others = parser.parse_known_args()
    program = ROOT / ("perf/ddp_bound.py" if args.bound else "examples/ddp.py")
    with TwoHosts([int(word) for word in args.links.split(",")]) as hosts:
        ranks = []
        for side in (0, 1):
            gloo = ",".join(f"{link}{'ab'[side]}" for link in args.gloo.split(","))
            env = {
                **os.environ, "OMP_NUM_THREADS": "1", "RANK": str(side), "WORLD_SIZE": "2",
                "LOCAL_RANK": "0", "MASTER_ADDR": "10.77.0.1", "MASTER_PORT": "29531",
                "GLOO_SOCKET_IFNAME": gloo, "NCCL_SOCKET_IFNAME": "fl",
                "FLEXLINK_HOSTID": f"host{side}",
            }  # fmt: skip
            command = [sys.executable, str(program), "--rounds", args.rounds, *others]
            ranks.append(subprocess.Popen(hosts.command(side, command), env=env))
        ends = [rank.wait(timeout=600) for rank in ranks]
        if ends != [0, 0]:
            sys.exit(f"a rank failed: {ends}")


main()
