# SPDX-License-Identifier: Apache-2.0
"""Ranks that die, do not come, or leave without a word."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import timedelta
from multiprocessing import get_context

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, TensorDataset

from bodies.common import Rank, fails, same

LIMIT = 60.0  # seconds after which the group's own limit would come


def die(rank: Rank) -> None:
    """Writes when, and is killed as the kernel kills: between two instructions."""
    (rank.folder / "died").write_text(str(time.monotonic()))
    os.kill(os.getpid(), signal.SIGKILL)


def until_error(rank: Rank, operation: str, victim: int) -> None:
    """Works with the others until the victim is missed; raises what the library says."""
    x = torch.ones(1 << 20)
    while operation == "all_reduce":
        dist.all_reduce(x)
    if operation == "barrier":
        dist.barrier()
    elif operation == "recv":
        dist.recv(x, src=victim)
    elif operation == "async":
        dist.all_reduce(x, async_op=True).wait()
    elif operation == "future":
        dist.all_reduce(x, async_op=True).get_future().wait()


def killed(rank: Rank, operation: str, victim: int) -> tuple[str, str, float] | None:
    """The error's type and text at a survivor, and the seconds since the death; a collective
    after it fails as well."""
    dist.init_process_group(rank.backend, timeout=timedelta(seconds=LIMIT))
    dist.all_reduce(torch.ones(1 << 20))
    if rank.rank == victim:
        if operation == "all_reduce":
            threading.Timer(0.5, die, (rank,)).start()
            until_error(rank, operation, victim)
        time.sleep(0.5)
        die(rank)
    try:
        until_error(rank, operation, victim)
    except Exception as error:
        text = str(error)
        kind = [base.__name__ for base in type(error).__mro__]
    since = time.monotonic() - float((rank.folder / "died").read_text())
    if rank.backend == "gloo":  # which may abort when it is used again
        return " ".join(kind), text, since
    try:
        dist.all_reduce(torch.ones(3))
    except RuntimeError:
        return " ".join(kind), text, since
    raise AssertionError("a group without one of its ranks works on")


def shrink(rank: Rank, victim: int) -> None:
    """After a death the survivors go on in a smaller world, and again after the next one.

    torch clones the store for the new world and lets go of the old one, which is the server where
    rank 0 has made it: the program holds it, and rank 0 must live.
    """
    dist.init_process_group(rank.backend, timeout=timedelta(seconds=LIMIT))
    dist.all_reduce(torch.ones(1000))
    alive, size = rank.rank, rank.size
    server = dist.distributed_c10d._get_default_store()
    for lost in (victim, size - 2):
        if alive == lost:
            die(rank)
        try:
            while True:
                dist.all_reduce(torch.ones(1000))
        except RuntimeError:
            pass
        dist.shrink_group([lost], shrink_flags=dist.distributed_c10d.SHRINK_ABORT)
        alive, size = alive - (alive > lost), size - 1
        assert dist.get_world_size() == size and dist.get_rank() == alive
        for count in (0, 1, 1001, 100_003):
            x = torch.full((count,), float(alive))
            dist.all_reduce(x)
            same(x, torch.full((count,), float(sum(range(size)))))
        dist.barrier()
    dist.destroy_process_group()
    del server


def timeout(rank: Rank, operation: str, limit: float) -> tuple[str, str, float] | None:
    """The last rank does not come to an operation: type and text of the error, and seconds."""
    dist.init_process_group(rank.backend, timeout=timedelta(seconds=limit))
    dist.all_reduce(torch.ones(3))
    absent = rank.size - 1
    if rank.rank == absent:
        time.sleep(limit + 3)
        return None
    began = time.monotonic()
    try:
        if operation == "recv":
            dist.recv(torch.ones(3), src=absent)
        elif operation == "barrier":
            dist.barrier()
        elif operation == "async":
            dist.all_reduce(torch.ones(3), async_op=True).wait()
        else:
            dist.all_reduce(torch.ones(3))
    except Exception as error:
        took = time.monotonic() - began
        time.sleep(max(0.0, limit + 2 - took))  # the others see a rank that lives
        return " ".join(base.__name__ for base in type(error).__mro__), str(error), took
    raise AssertionError("no error")


def late_result(rank: Rank, operation: str, limit: float) -> str | None:
    """What get_future_result() calls an operation to which the last rank does not come."""
    dist.init_process_group(rank.backend, timeout=timedelta(seconds=limit))
    x, absent = torch.ones(3), rank.size - 1
    dist.all_reduce(x)
    if rank.rank == absent:
        time.sleep(limit + 3)
        return None
    if operation == "batch":
        [work] = dist.batch_isend_irecv([dist.P2POp(dist.irecv, x, absent)])
    elif operation == "all_reduce":
        work = dist.all_reduce(x, async_op=True)
    else:
        work = dist.irecv(x, src=absent if operation == "recv" else None)
    result = work.get_future_result().wait()
    fails(dist.DistBackendError, [f"for rank {absent}"], work.wait)
    return str(torch._C._distributed_c10d.WorkResult(result).name)


def leave(rank: Rank, how: str) -> None:
    """Returns without destroy_process_group, with or without something on its way."""
    dist.init_process_group(rank.backend)
    group = dist.new_group()
    x = torch.ones(100_003)
    dist.all_reduce(x, group=group)
    if how == "outstanding":  # the last rank never calls it
        if rank.rank != rank.size - 1:
            rank.kept["work"] = dist.all_reduce(x, async_op=True)  # type: ignore[assignment]
            rank.kept["receive"] = dist.irecv(torch.ones(3), src=rank.size - 1)  # type: ignore[assignment]
        time.sleep(0.3)
    elif how == "destroyed":
        dist.destroy_process_group()


def data_loader(rank: Rank) -> None:
    """Forked workers beside a live group, begun while a collective is on its way."""
    numbers = torch.arange(rank.rank, 64, rank.size)
    total = torch.zeros(1, dtype=torch.int64)
    busy = torch.ones(1 << 20)
    work = dist.all_reduce(busy, async_op=True)
    loader = DataLoader(TensorDataset(numbers), batch_size=4, num_workers=2)
    for _ in range(2):
        for (batch,) in loader:
            part = batch.sum().reshape(1)
            dist.all_reduce(part)
            total += part
    work.wait()
    same(busy, torch.full((1 << 20,), float(rank.size)))
    same(total, torch.tensor([2 * sum(range(64))]))


def nothing() -> None:
    """What the child does."""


def forked_child(rank: Rank) -> None:
    """A child that runs to its end, destructors and all, does not disturb its parent's group."""
    dist.all_reduce(torch.ones(5))
    for _ in range(3):
        child = get_context("fork").Process(target=nothing)
        child.start()
        child.join(10)
        assert child.exitcode == 0, child.exitcode
        x = torch.ones(100_003)
        dist.all_reduce(x)
        same(x, torch.full((100_003,), float(rank.size)))
