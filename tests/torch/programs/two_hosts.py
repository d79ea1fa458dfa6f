# SPDX-License-Identifier: Apache-2.0
"""One rank of a training over hosts: RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are set.

two_hosts.py BACKEND FOLDER, which all ranks share
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bodies import collectives, reductions, spmd, training
from bodies.common import Rank


def main() -> None:
    """Collectives of several kinds and what users run on top; all of them check every bit."""
    torch.set_num_threads(1)
    dist.init_process_group(sys.argv[1])
    rank = Rank(dist.get_rank(), dist.get_world_size(), sys.argv[1], Path(sys.argv[2]))
    reductions.all_reduce(rank, "float32", "SUM")
    collectives.all_gather(rank, "int64", "tensor")
    collectives.all_to_all_splits(rank, "float32")
    collectives.objects(rank)
    training.ddp(rank, {}, accumulate=False)
    for hook in ("fp16_compress_hook", "bf16_compress_hook"):
        training.ddp_hook(rank, hook)
    training.powersgd(rank)
    training.zero(rank, overlap=True)
    training.fsdp2(rank, reshard=True)
    training.fsdp2_hybrid(rank)
    spmd.dtensor(rank)
    spmd.dtensor_grid(rank)
    spmd.eager(rank)
    spmd.compiled(rank)
    spmd.checkpoint(rank, asynchronous=False)
    dist.barrier()
    dist.destroy_process_group()


main()
