# SPDX-License-Identifier: Apache-2.0
"""FSDP2 (fully_shard) on CPU, with Gloo and with FlexLink: only the backend's name differs.

python examples/fsdp2.py                     2 ranks, both backends in turns, prints the ratio
python examples/fsdp2.py --compute-bound     a small model with a large batch
torchrun --nproc-per-node 4 examples/fsdp2.py --backend flexlink
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from comparison import Step, compare, training_step
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


def make_step(backend: str, compute_bound: bool) -> Step:
    """One training step over a group with this backend. A program with only one backend says
    init_process_group(backend) and fully_shard(layer) and no more."""
    model, batch = make_model(compute_bound)
    mesh = DeviceMesh.from_group(dist.new_group(backend=backend), "cpu")
    for layer in model:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return training_step(model, batch)


if __name__ == "__main__":
    compare(make_step, __doc__.splitlines()[0])
