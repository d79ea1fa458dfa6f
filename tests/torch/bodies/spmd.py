# SPDX-License-Identifier: Apache-2.0
"""What is built on functional collectives: DTensor, meshes, compiled code, checkpoints."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as funcol
import torch.distributed.checkpoint as dcp
import torch.distributed.nn.functional as autograd
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from bodies.common import Rank, device_type, numbers, same


def whole(shape: tuple[int, ...], key: int) -> torch.Tensor:
    """A matrix of small whole numbers, the same on all ranks."""
    return numbers(torch.float32, torch.Size(shape).numel(), key).reshape(shape)


def dtensor(rank: Rank) -> None:
    """Every change of placement, uneven shards too, and products, compared with plain tensors."""
    mesh = init_device_mesh(device_type(), (rank.size,))
    for rows in (8, 7, rank.size - 1):
        plain = whole((rows, 9), rows)
        placements = (Shard(0), Shard(1), Replicate())
        for source in placements:
            for target in placements:
                moved = distribute_tensor(plain, mesh, [source]).redistribute(mesh, [target])
                same(moved.full_tensor(), plain, f"{source} to {target}")
        partial = DTensor.from_local(plain, mesh, [Partial()], run_check=False)
        for target in placements:
            same(partial.redistribute(mesh, [target]).full_tensor(), plain * rank.size, str(target))
    a, b = whole((8, 12), 1), whole((12, 5), 2)
    for left in (Shard(0), Shard(1), Replicate()):
        for right in (Shard(0), Shard(1), Replicate()):
            product = distribute_tensor(a, mesh, [left]) @ distribute_tensor(b, mesh, [right])
            same(product.full_tensor(), a @ b, f"{left} @ {right}")


def dtensor_grid(rank: Rank) -> None:
    """A mesh of two dimensions: its groups, and placements over both."""
    mesh = init_device_mesh(device_type(), (2, rank.size // 2), mesh_dim_names=("a", "b"))
    for name in ("a", "b"):
        x = torch.ones(5)
        dist.all_reduce(x, group=mesh[name].get_group())
        same(x, torch.full((5,), float(mesh[name].size())))
    plain = whole((8, 6), 3)
    spread = distribute_tensor(plain, mesh, [Shard(0), Shard(1)])
    same(spread.full_tensor(), plain)
    same(spread.redistribute(mesh, [Replicate(), Shard(0)]).full_tensor(), plain)
    same((spread + 1).sum().full_tensor(), (plain + 1).sum())


def functional(x: torch.Tensor, group: dist.ProcessGroup) -> list[torch.Tensor]:
    """Every functional collective once."""
    size = group.size()
    rows = torch.cat([x] * size)
    splits = [x.shape[0]] * size
    return [
        funcol.all_reduce(x, "sum", group) + 1,
        funcol.all_gather_tensor(x, 0, group) * 2,
        funcol.reduce_scatter_tensor(rows, "sum", 0, group) - 1,
        funcol.all_to_all_single(rows * 3, splits, splits, group),
        funcol.broadcast(x, 0, group) + 0,
        *(t + 1 for t in funcol.all_reduce_coalesced([x, x * 2], "sum", group)),
        *(t + 1 for t in funcol.all_gather_into_tensor_coalesced([x, x * 2], group)),
        *(
            t + 1
            for t in funcol.reduce_scatter_tensor_coalesced([rows, rows], "sum", [0, 0], group)
        ),
    ]


def check_functional(rank: Rank, results: list[torch.Tensor]) -> None:
    """All of functional()'s results for inputs(rank)."""
    every = [whole((3, 5), r) for r in range(rank.size)]
    total, mine = torch.stack(every).sum(0), every[rank.rank]
    gathered = torch.cat(every)
    wanted = [
        total + 1, gathered * 2, total - 1, gathered * 3, every[0], total + 1, total * 2 + 1,
        gathered + 1, gathered * 2 + 1, total + 1, total + 1,
    ]  # fmt: skip
    for i, (result, expected) in enumerate(zip(results, wanted, strict=True)):
        plain = result.wait() if isinstance(result, funcol.AsyncCollectiveTensor) else result
        same(plain, expected, f"result {i}")
    same(mine, whole((3, 5), rank.rank), "input")


def eager(rank: Rank) -> None:
    """Functional collectives as they are; results that nobody waits for do no harm."""
    x = whole((3, 5), rank.rank)
    for _ in range(3):
        check_functional(rank, functional(x, dist.group.WORLD))
        funcol.all_reduce(x, "sum", dist.group.WORLD)
    lazy = funcol.all_reduce(x, "sum", dist.group.WORLD)
    assert isinstance(lazy, funcol.AsyncCollectiveTensor)
    same(lazy.wait(), torch.stack([whole((3, 5), r) for r in range(rank.size)]).sum(0))


def compiled(rank: Rank) -> None:
    """torch.compile of functional and of ordinary collectives, without a break of the graph."""
    x = whole((3, 5), rank.rank)
    group = dist.group.WORLD
    compiled = torch.compile(functional, backend="aot_eager", fullgraph=True)
    check_functional(rank, compiled(x, group))

    def ordinary(x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        dist.all_reduce(y)
        output = torch.empty(y.shape[0] * rank.size, y.shape[1])
        dist.all_gather_into_tensor(output, y + 1)
        return output * 2

    total = torch.stack([whole((3, 5), r) for r in range(rank.size)]).sum(0) * 2
    result = torch.compile(ordinary, backend="aot_eager", fullgraph=True)(x)
    same(result, torch.cat([(total + 1) * 2] * rank.size))


def gradients(rank: Rank) -> None:
    """Collectives through which gradients flow."""
    x = whole((4, 3), rank.rank).requires_grad_()
    (autograd.all_reduce(x) * (rank.rank + 1)).sum().backward()
    same(x.grad, torch.full((4, 3), float(sum(range(1, rank.size + 1)))), "all_reduce")
    y = whole((rank.size, 3), rank.rank).requires_grad_()
    splits = [1] * rank.size
    out = funcol.all_to_all_single_autograd(y, splits, splits, dist.group.WORLD)
    (out * (rank.rank + 1)).sum().backward()
    wanted = torch.arange(1.0, rank.size + 1).reshape(-1, 1).expand(-1, 3).contiguous()
    same(y.grad, wanted, "all_to_all_single")


def checkpoint(rank: Rank, asynchronous: bool) -> None:
    """Saved in one placement, loaded in another; plain tensors and other values beside."""
    mesh = init_device_mesh(device_type(), (rank.size,))
    plain = whole((13, 6), 4)
    folder = str(rank.folder / "saved")
    state = {
        "matrix": distribute_tensor(plain, mesh, [Shard(0)]), "plain": plain * 2, "step": 17,
    }  # fmt: skip
    if asynchronous:
        dcp.async_save(state, checkpoint_id=folder).result(20)
    else:
        dcp.save(state, checkpoint_id=folder)
    dist.barrier()
    loaded = {
        "matrix": distribute_tensor(torch.zeros(13, 6), mesh, [Shard(1)]),
        "plain": torch.zeros(13, 6), "step": 0,
    }  # fmt: skip
    dcp.load(loaded, checkpoint_id=folder)
    same(loaded["matrix"].full_tensor(), plain)
    same(loaded["plain"], plain * 2)
    assert loaded["step"] == 17
