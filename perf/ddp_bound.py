# SPDX-License-Identifier: Apache-2.0
"""What of a DDP step is communication: the most that a faster AllReduce can gain.

flexlink run -n 2 -- python perf/ddp_bound.py [--compute-bound] [--rounds 5]

Prints medians of rank 0 in milliseconds, all taken in turns, and the CPU milliseconds of its
process. `no DDP`: the model alone. `no communication`: DDP with a hook that hands every bucket back
at once. Then a step with each backend, and AllReduces of the same gradients alone, in torch's
memory and in memory that all ranks map.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import ddp
import torch
import torch.distributed as dist
from comparison import Step, measure, training_step
from torch.nn.parallel import DistributedDataParallel

BUCKETS = 4  # of DDP's usual 25 MB
STEPS = 5  # in each round


def silent(compute_bound: bool) -> Step:
    """DDP that copies, divides and waits as ever, and sends nothing."""
    model, batch = ddp.make_model(compute_bound)
    quiet = DistributedDataParallel(model)

    def hook(_, bucket):  # without types: torch reads them and takes no strings
        future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        future.set_result(bucket.buffer().div_(dist.get_world_size()))
        return future

    quiet.register_comm_hook(None, hook)
    return training_step(quiet, batch)


def sums(group: dist.ProcessGroup, tensors: list[torch.Tensor]) -> Step:
    """AllReduces in flight together, as DDP's are."""

    def step() -> None:
        works = [dist.all_reduce(each, group=group, async_op=True) for each in tensors]
        for work in works:
            work.get_future().wait()

    return step


def cpu_seconds(step: Step) -> float:
    """Of one step, all threads of this process, their time in the kernel too."""
    dist.barrier()
    began = time.process_time()
    for _ in range(STEPS):
        step()
    return (time.process_time() - began) / STEPS


def main() -> None:
    """What each rank runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--compute-bound", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    dist.init_process_group("gloo")
    ours, gloo = dist.new_group(backend="flexlink"), dist.group.WORLD
    model, batch = ddp.make_model(options.compute_bound)
    part = sum(each.numel() for each in model.parameters()) // BUCKETS
    plain = [torch.ones(part) for _ in range(BUCKETS)]
    backend = ours._get_backend(torch.device("cpu"))
    shared = [
        backend.allocate_tensor(part, dtype=torch.float32, device=torch.device("cpu")).fill_(1)
        for _ in range(BUCKETS)
    ]
    steps = {
        "no DDP": training_step(model, batch),
        "no communication": silent(options.compute_bound),
        "gloo": ddp.make_step("gloo", options.compute_bound),
        "flexlink": ddp.make_step("flexlink", options.compute_bound),
        "gloo's sums": sums(gloo, plain),
        "flexlink's sums": sums(ours, plain),
        "shared memory": sums(ours, shared),
    }
    for name, seconds in measure(steps, options.rounds, STEPS).items():
        cpu = cpu_seconds(steps[name])
        if dist.get_rank() == 0:
            print(f"| {name} | {seconds * 1e3:.1f} | {cpu * 1e3:.1f} |", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
