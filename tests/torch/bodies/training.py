# SPDX-License-Identifier: Apache-2.0
"""DDP, FSDP2 and ZeRO against the same training in one process: whole numbers, so the same bits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

from bodies.common import Rank, device_type, same

STEPS = 3
RATE = 0.25
CPU = torch.device("cpu")


def small_integers(shape: tuple[int, ...], key: int) -> torch.Tensor:
    """-1, 0 or 1; whole numbers stay exact in float64 for all the steps."""
    count = torch.Size(shape).numel()
    return ((torch.arange(count) * 7 + key * 5) % 11 % 3 - 1).double().reshape(shape)


def make_model(width: int = 24) -> torch.nn.Module:
    """Three layers with whole weights."""
    layers: list[torch.nn.Module] = []
    for inputs, outputs in ((8, width), (width, width), (width, 4)):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1]).double()
    with torch.no_grad():
        for key, parameter in enumerate(model.parameters()):
            parameter.copy_(small_integers(tuple(parameter.shape), key))
    return model


def loss(model: torch.nn.Module, rank: int, step: int) -> torch.Tensor:
    """That of one rank's batch in one step."""
    x = small_integers((4, 8), 100 * step + rank)
    return (model(x) * small_integers((4, 4), rank + step)).sum()


def momentum(parameters: Any) -> torch.optim.Optimizer:
    """An optimizer with state, exact on whole numbers."""
    return torch.optim.SGD(parameters, lr=RATE, momentum=0.5)


def train_alone(size: int) -> torch.nn.Module:
    """All ranks' batches in one process; the mean over ranks as the groups take it."""
    model = make_model()
    optimizer = momentum(model.parameters())
    for step in range(STEPS):
        optimizer.zero_grad()
        (torch.stack([loss(model, rank, step) for rank in range(size)]).sum() / size).backward()
        optimizer.step()
    return model


def check_model(model: torch.nn.Module, size: int) -> None:
    """Bit for bit what one process computes."""
    wanted = dict(train_alone(size).named_parameters())
    for name, parameter in model.named_parameters():
        value = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
        same(value.detach(), wanted[name].detach(), name)


def ddp(rank: Rank, options: dict[str, Any], accumulate: bool) -> None:
    """Several buckets; `accumulate`: half of each batch under no_sync()."""
    options = {"bucket_cap_mb": 0.002, **options}
    model = DistributedDataParallel(make_model(), **options)
    optimizer = momentum(model.parameters())
    for step in range(STEPS):
        optimizer.zero_grad()
        if accumulate:
            with model.no_sync():
                (loss(model, rank.rank, step) / 2).backward()
            (loss(model, rank.rank, step) / 2).backward()
        else:
            loss(model, rank.rank, step).backward()
        optimizer.step()
    check_model(model.module, rank.size)


def ddp_unused(rank: Rank) -> None:
    """Parameters that one rank does not use in a step."""

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = torch.nn.Linear(3, 2, bias=False)
            self.right = torch.nn.Linear(3, 2, bias=False)

        def forward(self, x: torch.Tensor, left: bool) -> torch.Tensor:
            return self.left(x) if left else self.right(x)

    model = DistributedDataParallel(Two(), find_unused_parameters=True)
    model(torch.ones(1, 3), left=rank.rank == 0).sum().backward()
    same(model.module.left.weight.grad, torch.full((2, 3), 1 / rank.size))
    same(model.module.right.weight.grad, torch.full((2, 3), 1 - 1 / rank.size))


def ddp_hook(rank: Rank, name: str) -> None:
    """Compressed gradients: sums of a few ones, exact in 16 bits as well. DDP of torch 2.13 looks
    for NCCL when a hook is named bf16_…, whatever the group is; under another name it may run."""

    def hook(state, bucket):  # DDP reads annotations, which are only texts in this file
        return getattr(default_hooks, name)(state, bucket)

    layer = torch.nn.Linear(300, 40, bias=False)
    model = DistributedDataParallel(layer, bucket_cap_mb=0.01)
    model.register_comm_hook(None, hook)
    targets = [small_integers((4, 40), r).float() for r in range(rank.size)]
    inputs = [small_integers((4, 300), 7 + r).float() for r in range(rank.size)]
    for _ in range(2):
        model.zero_grad()
        (model(inputs[rank.rank]) * targets[rank.rank]).sum().backward()
        pairs = zip(targets, inputs, strict=True)
        wanted = torch.stack([t.T @ x for t, x in pairs]).sum(0) / rank.size
        same(layer.weight.grad, wanted)


def powersgd(rank: Rank) -> None:
    """Approximate, so compared with Gloo's bits where the order of two summands does not matter,
    and between the ranks where there are more."""
    gloo = dist.new_group(backend="gloo")
    results = []
    for group in (None, gloo):
        torch.manual_seed(3)
        layer = torch.nn.Linear(200, 60)
        model = DistributedDataParallel(layer, process_group=group)
        state = powerSGD_hook.PowerSGDState(
            process_group=group, matrix_approximation_rank=2, start_powerSGD_iter=2,
            min_compression_rate=1,
        )  # fmt: skip
        model.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        generator = torch.Generator().manual_seed(rank.rank)
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.randn(8, 200, generator=generator)).square().mean().backward()
            optimizer.step()
        results.append([p.detach().clone() for p in layer.parameters()])
    for ours, theirs in zip(*results, strict=True):
        if rank.size == 2:
            same(ours, theirs)
        seen: list[Any] = [None] * rank.size
        dist.all_gather_object(seen, ours)
        for other in seen:
            same(other, ours)
    dist.destroy_process_group(gloo)


def zero(rank: Rank, overlap: bool) -> None:
    """ZeroRedundancyOptimizer: each rank has a part of the state; the parts come together."""
    model = DistributedDataParallel(make_model(), gradient_as_bucket_view=overlap)
    optimizer = ZeroRedundancyOptimizer(
        model.parameters(),
        torch.optim.SGD,
        lr=RATE,
        momentum=0.5,
        parameters_as_bucket_view=overlap,
    )
    for step in range(STEPS):
        optimizer.zero_grad()
        loss(model, rank.rank, step).backward()
        optimizer.step()
    check_model(model.module, rank.size)
    optimizer.consolidate_state_dict(to=0)
    if rank.rank == 0:
        assert len(optimizer.state_dict()["state"]) == len(list(model.parameters()))


def run_fsdp(rank: Rank, shard: Callable[[torch.nn.Module], None]) -> torch.nn.Module:
    """Trains a sharded model and compares it."""
    model = make_model()
    shard(model)
    optimizer = momentum(model.parameters())
    for step in range(STEPS):
        optimizer.zero_grad()
        loss(model, rank.rank, step).backward()
        optimizer.step()
    check_model(model, rank.size)
    return model


def fsdp2(rank: Rank, reshard: bool) -> None:
    """fully_shard of each layer and of the whole."""
    mesh = init_device_mesh(device_type(), (rank.size,))

    def shard(model: torch.nn.Module) -> None:
        for layer in list(model)[::2]:  # type: ignore[call-overload]
            fully_shard(layer, mesh=mesh, reshard_after_forward=reshard)
        fully_shard(model, mesh=mesh, reshard_after_forward=reshard)

    run_fsdp(rank, shard)


def fsdp2_hybrid(rank: Rank) -> None:
    """Replicas of shards: a mesh of two dimensions."""
    mesh = init_device_mesh(
        device_type(), (2, rank.size // 2), mesh_dim_names=("replicate", "shard")
    )
    run_fsdp(rank, lambda model: fully_shard(model, mesh=mesh))


def fsdp2_with_our_buffers(rank: Rank) -> None:
    """FSDP2 takes its buffers from the backend (trap 14)."""
    backend = dist.group.WORLD._get_backend(CPU)
    assert backend.supports_tensor_alloc(CPU)
    mesh = init_device_mesh("cpu", (rank.size,))

    def shard(model: torch.nn.Module) -> None:
        fully_shard(model, mesh=mesh)
        model.set_allocate_memory_from_process_group_for_comm(True)

    run_fsdp(rank, shard)


def allocated_tensors(rank: Rank) -> None:
    """Tensors from the backend are ordinary ones, live as long as somebody holds them, and give
    their memory back."""
    backend = dist.group.WORLD._get_backend(CPU)
    for dtype in (torch.float32, torch.bfloat16, torch.uint8, torch.int64):
        for count in (0, 1, 1001, 1 << 20):
            x = backend.allocate_tensor(count, dtype=dtype, device=CPU)
            assert x.numel() == count and x.dtype == dtype and x.device == CPU
            x.fill_(1)
            view = x[count // 2 :]
            dist.all_reduce(x)
            same(view, torch.full((count - count // 2,), rank.size, dtype=dtype))
            part = copy.deepcopy(view)
            del x
            same(view, part)
    with open("/proc/self/statm") as statm:
        before = int(statm.read().split()[0])
    for _ in range(100):
        backend.allocate_tensor(1 << 20, dtype=torch.float32, device=CPU).fill_(1)
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[0]) - before
    assert pages * 4096 < 100 << 20, pages
