# SPDX-License-Identifier: Apache-2.0
"""Under torchrun: rank 1 is killed in the middle of its work until the last restart.

elastic.py BACKEND RESTARTS
"""

from __future__ import annotations

import os
import signal
import sys

import torch
import torch.distributed as dist


def main() -> None:
    """Leaves without destroy_process_group, as many programs do."""
    backend, restarts = sys.argv[1], int(sys.argv[2])
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    signal.alarm(60)  # torchrun's children outlive it if it is killed
    dist.init_process_group(backend)
    rank, size = dist.get_rank(), dist.get_world_size()
    for step in range(50):
        x = torch.full((50_000,), float(rank + step))
        if attempt < restarts and rank == 1 and step == 20:
            dist.all_reduce(x, async_op=True)
            os.kill(os.getpid(), signal.SIGKILL)
        dist.all_reduce(x)
        expected = float(sum(range(size)) + size * step)
        assert torch.equal(x, torch.full((50_000,), expected)), (attempt, step)
    if backend == "gloo":  # whose threads abort now and then when a program just ends
        dist.destroy_process_group()
    sys.stdout.write(f"rank {rank} done after {attempt} restarts\n")


main()
