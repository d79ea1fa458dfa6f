# SPDX-License-Identifier: Apache-2.0
"""What ddp.py and fsdp2.py have in common: the same training step over one backend or over two in
turns, timed. Run those, not this."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.distributed as dist

Step = Callable[[], None]


def training_step(model: torch.nn.Module, batch: torch.Tensor) -> Step:
    """Forward, backward and an update of the model, whatever it is wrapped in."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step() -> None:
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()

    return step


def measure(steps: dict[str, Step], rounds: int, count: int) -> dict[str, float]:
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


def compare(make_step: Callable[[str, bool], Step], title: str) -> None:
    """What each rank runs: make_step(backend, compute_bound) makes the step to be timed."""
    parser = argparse.ArgumentParser(description=title)
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
