# SPDX-License-Identifier: Apache-2.0
"""One rank with torch's own backend "nccl": its words name what it does; "done" at the end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

RANK, SIZE = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
DEVICE = torch.device("cuda", RANK % torch.cuda.device_count())
TYPES = (torch.int8, torch.uint8, torch.int32, torch.int64, torch.float16, torch.bfloat16,
         torch.float32, torch.float64)  # fmt: skip
COUNT = 4096


def mine(kind: torch.dtype, rank: int = RANK, count: int = COUNT) -> torch.Tensor:
    """Small whole numbers, exact in every type, other ones on each rank."""
    return (torch.arange(count, device=DEVICE) % 7 + rank + 1).to(kind)


def same(got: torch.Tensor, want: torch.Tensor) -> None:
    assert torch.equal(got, want), f"{got.dtype}: {got[:8]} instead of {want[:8]}"


def folded(kind: torch.dtype, op: str) -> torch.Tensor:
    """The reduction of all ranks' mine()."""
    all_ = torch.stack([mine(torch.float64, rank) for rank in range(SIZE)])
    by_name = {"sum": all_.sum(0), "prod": all_.prod(0), "min": all_.amin(0), "max": all_.amax(0)}
    return (all_.sum(0) / SIZE if op == "avg" else by_name[op]).to(kind)


def reductions() -> None:
    """Every type with every op, in place, and PreMulSum."""
    for kind in TYPES:
        for op in ("sum", "prod", "min", "max", "avg"):
            if op == "avg" and not kind.is_floating_point:
                continue
            x = mine(kind)
            dist.all_reduce(x, getattr(dist.ReduceOp, op.upper()))
            same(x, folded(kind, op))
    x = mine(torch.float32)
    dist.all_reduce(x, dist._make_nccl_premul_sum(2.0))
    same(x, 2 * folded(torch.float32, "sum"))


def movements() -> None:
    """What moves and adds nothing, reduce_scatter, and sends to the next rank."""
    everybody = torch.cat([mine(torch.float32, rank) for rank in range(SIZE)])
    out = torch.empty(SIZE * COUNT, device=DEVICE)
    dist.all_gather_into_tensor(out, mine(torch.float32))
    same(out, everybody)
    part = torch.empty(COUNT // SIZE, device=DEVICE)
    dist.reduce_scatter_tensor(part, mine(torch.float32))
    same(part, folded(torch.float32, "sum").chunk(SIZE)[RANK])
    dist.all_to_all_single(out[:COUNT], mine(torch.float32))
    blocks = [mine(torch.float32, rank).chunk(SIZE)[RANK] for rank in range(SIZE)]
    same(out[:COUNT], torch.cat(blocks))
    x = mine(torch.float32)
    dist.broadcast(x, SIZE - 1)
    same(x, mine(torch.float32, SIZE - 1))
    x = mine(torch.float32)
    dist.reduce(x, 0)
    if RANK == 0:
        same(x, folded(torch.float32, "sum"))
    got = torch.empty(COUNT, device=DEVICE)
    work = dist.batch_isend_irecv([
        dist.P2POp(dist.isend, mine(torch.float32), (RANK + 1) % SIZE),
        dist.P2POp(dist.irecv, got, (RANK - 1) % SIZE),
    ])  # fmt: skip
    for each in work:
        each.wait()
    same(got, mine(torch.float32, (RANK - 1) % SIZE))
    dist.barrier()


def graph() -> None:
    """An all_reduce and an all_gather captured once and replayed with other inputs."""
    x, out = mine(torch.float32), torch.empty(SIZE * COUNT, device=DEVICE)
    dist.all_reduce(x)
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        dist.all_reduce(x)
        dist.all_gather_into_tensor(out, x)
    for turn in range(3):
        x.copy_(mine(torch.float32) + turn)
        captured.replay()
        want = folded(torch.float32, "sum") + turn * SIZE
        torch.cuda.synchronize()
        same(x, want)
        same(out, torch.cat([want] * SIZE))


def overlap() -> None:
    """Calls on two streams with kernels between them: none may wait for what comes behind it."""
    streams = [torch.cuda.Stream() for _ in range(2)]
    groups = [dist.new_group() for _ in range(2)]
    a = torch.randn(1024, 1024, device=DEVICE)
    for _ in range(20):
        xs = [mine(torch.float32, count=1 << 20) for _ in streams]
        torch.cuda.synchronize()
        for stream, group, x in zip(streams, groups, xs, strict=True):
            with torch.cuda.stream(stream):
                (a @ a).sum()
                dist.all_reduce(x, group=group)
                (a @ a).sum()
        torch.cuda.synchronize()
        want = torch.stack([mine(torch.float32, r, 1 << 20) for r in range(SIZE)]).sum(0)
        for x in xs:
            same(x, want)


def whose() -> None:
    """Which files serve the calls, and the version that torch sees."""
    dist.all_reduce(mine(torch.float32))
    torch.cuda.synchronize()
    files = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    print("version", ".".join(map(str, torch.cuda.nccl.version())))
    for file in sorted(file for file in files if "libflexlink" in file or "libnccl" in file):
        print("file", file)


torch.cuda.set_device(DEVICE)
dist.init_process_group("nccl", device_id=DEVICE)
for name in sys.argv[1:]:
    {f.__name__: f for f in (reductions, movements, graph, overlap, whose)}[name]()
torch.cuda.synchronize()
dist.destroy_process_group()
print("done")
