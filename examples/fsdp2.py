# SPDX-License-Identifier: Apache-2.0
"""FSDP2 (fully_shard) on CPU, with Gloo and with FlexLink: only the backend's name differs.

python examples/fsdp2.py                     2 ranks, both backends in turns, prints the ratio
python examples/fsdp2.py --compute-bound     a small model with a large batch
torchrun --nproc-per-node 4 examples/fsdp2.py --backend flexlink
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard


def make_model(compute_bound: bool) -> tuple[nn.Sequential, torch.Tensor]:
    """A model and a batch: 25 million parameters and 2 samples, or few parameters and 4096."""
    features, width, batch = (256, 256, 4096) if compute_bound else (1024, 2048, 2)
    layers = 1 if compute_bound else 5
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(features, width),
        *(nn.Sequential(nn.ReLU(), nn.Linear(width, width)) for _ in range(layers)),
        nn.Linear(width, features),
    )
    return model, torch.randn(batch, features)


def make_step(backend: str, compute_bound: bool) -> Callable[[], None]:
    """One training step over a group with this backend. A program with only one backend says
    init_process_group(backend) and fully_shard(layer) and no more."""
    model, batch = make_model(compute_bound)
    mesh = DeviceMesh.from_group(dist.new_group(backend=backend), "cpu")
    for layer in model:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step() -> None:
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()

    return step


def measure(steps: dict[str, Callable[[], None]], rounds: int, count: int) -> dict[str, float]:
    """Median seconds of a step for each backend; they take turns, so that both see the same
    disturbances. The first round only warms up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(rounds + 1):
        for name, step in steps.items():
            for _ in range(count):
                dist.barrier()
                began = time.perf_counter()
                step()
                if round_number > 0:
                    times[name].append(time.perf_counter() - began)
    return {name: statistics.median(seen) for name, seen in times.items()}


def main() -> None:
    """What each rank runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", help="only this one; default: gloo and flexlink in turns")
    parser.add_argument("--compute-bound", action="store_true")
    parser.add_argument("--ranks", type=int, default=2, help="without torchrun (default: 2)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="in each round")
    options = parser.parse_args()
    if "RANK" not in os.environ:  # not under torchrun: become torchrun
        words = ["--standalone", "--nproc-per-node", str(options.ranks), *sys.argv]
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.execv(sys.executable, [sys.executable, "-m", "torch.distributed.run", *words])

    backends = [options.backend] if options.backend else ["gloo", "flexlink"]
    dist.init_process_group(backends[0])
    steps = {name: make_step(name, options.compute_bound) for name in backends}
    medians = measure(steps, options.rounds, options.steps)
    if dist.get_rank() == 0:
        for name, seconds in medians.items():
            print(f"{name:10} {seconds * 1e3:8.2f} ms per step, {dist.get_world_size()} ranks")
        if len(medians) == 2:
            print(f"flexlink is {medians['gloo'] / medians['flexlink']:.2f} times as fast as gloo")
    dist.barrier()  # the last step's threads are done with its tensors when the groups go
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
