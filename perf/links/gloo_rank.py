# SPDX-License-Identifier: Apache-2.0
"""One rank of Gloo (torch.distributed) that does what rank.py does, for comparison.

argv: as rank.py; "nic" names the host's NIC, or is lo. Prints the same.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta

JOB = json.loads(sys.argv[1])
RANK, RANKS = JOB["rank"], JOB["ranks"]
os.environ["GLOO_SOCKET_IFNAME"] = JOB["nic"] if JOB["nic"] == "lo" else f"fl0{'ab'[RANK]}"

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402


def main() -> None:
    """Rounds as rank.py makes them."""
    torch.set_num_threads(1)
    address = "127.0.0.1" if JOB["nic"] == "lo" else "10.77.0.1"
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://{address}:21078",
        world_size=RANKS,
        rank=RANK,
        timeout=timedelta(seconds=60),
    )
    data = torch.empty(max(JOB["bytes"] // 4, 1))
    times: list[float] = []
    cpu = 0.0
    for turn in range(-max(3, min(JOB["rounds"], 1000) // 10), JOB["rounds"]):
        data.fill_(RANK + 1)
        dist.barrier()
        start, used = time.monotonic(), time.process_time()
        dist.all_reduce(data)
        if turn >= 0:
            times.append(time.monotonic() - start)
            cpu += time.process_time() - used
        assert bool((data == RANKS * (RANKS + 1) / 2).all())
    print(json.dumps({"starts": [], "times": times, "cpu": cpu}))
    dist.barrier()
    dist.destroy_process_group()


main()
