# SPDX-License-Identifier: Apache-2.0
"""DistributedDataParallel on CPU, with Gloo and with FlexLink: only the backend's name differs.

python examples/ddp.py                       2 ranks, both backends in turns, prints the ratio
python examples/ddp.py --compute-bound       a small model with a large batch
torchrun --nproc-per-node 4 examples/ddp.py --backend flexlink
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from comparison import Step, compare, training_step
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def make_model(compute_bound: bool) -> tuple[nn.Module, torch.Tensor]:
    """A model and a batch: 25 million parameters and 2 samples, or few parameters and 4096."""
    features, width, batch = (256, 256, 4096) if compute_bound else (1024, 4096, 2)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, features),
    )  # fmt: skip
    return model, torch.randn(batch, features)


def make_step(backend: str, compute_bound: bool) -> Step:
    """One training step over a group with this backend. A program with only one backend says
    init_process_group(backend) and no more."""
    model, batch = make_model(compute_bound)
    ddp = DistributedDataParallel(model, process_group=dist.new_group(backend=backend))
    return training_step(ddp, batch)


if __name__ == "__main__":
    compare(make_step, __doc__.splitlines()[0])
