# SPDX-License-Identifier: Apache-2.0
"""The flight record: what torch's own analyzer makes of it."""

from __future__ import annotations

import pickle
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.flight_recorder import fr_trace

import flexlink.torch
from bodies.common import Rank, await_file


def analysed(folder: Path) -> Any:
    """The analyzer's tables of all dumps of a folder."""
    fr_trace.main([str(folder), "--prefix", "rank", "-o", str(folder / "tables")])
    with (folder / "tables").open("rb") as file:
        _, tables = pickle.load(file)
    return tables


def messages(rank: Rank) -> int:
    """Between two ranks, each answered before the next: no others are matched. How many."""
    x = torch.ones(7)
    if rank.rank == 0:
        dist.send(x, 1)
        dist.recv(x, 1)
        dist.recv(x)
    else:
        dist.recv(x, 0)
        dist.send(x, 0)
        dist.send(x, 0)
    return 3


def collectives(rank: Rank) -> int:
    """One of each kind that the analyzer knows; how many."""
    n, x = rank.size, torch.ones(4 * rank.size, 2)
    parts = [torch.ones(4, 2) for _ in range(n)]
    whole = torch.empty(n * 4, 2)
    mine = torch.ones(4, 2)
    dist.all_reduce(x)
    dist.broadcast(x, 0)
    dist.reduce(x, 1)
    dist.all_gather(parts, mine)
    dist.all_gather_into_tensor(whole, mine)
    dist.reduce_scatter(mine, parts)
    dist.reduce_scatter_tensor(mine, whole)
    dist.gather(mine, parts if rank.rank == 0 else None, 0)
    dist.scatter(mine, parts if rank.rank == 0 else None, 0)
    dist.all_to_all(parts, [torch.ones(4, 2) for _ in range(n)])
    dist.all_to_all_single(whole, torch.ones(n * 4, 2))
    dist.all_gather([torch.ones(1 + r) for r in range(n)], torch.ones(1 + rank.rank))
    dist.barrier()
    return 13


def everything(rank: Rank, where: str) -> list[str]:
    """Every operation, then the analyzer: the names of what it has matched on all ranks."""
    folder = Path(where)
    rank.join()
    count = collectives(rank)
    if rank.size == 2:
        count += messages(rank)
    small = dist.new_group([0, 1], group_desc="the first two")
    if rank.rank < 2:
        dist.all_reduce(torch.ones(3), group=small)
    (folder / f"rank{rank.rank}").write_bytes(flexlink.torch.flight_record())
    active = pickle.loads(flexlink.torch.flight_record(only_active=True))
    assert active["entries"] == []
    dist.barrier()
    if rank.rank != 0:
        return []
    dump = pickle.loads((folder / "rank0").read_bytes())
    assert dump["version"] == "2.10"
    assert {one["desc"] for one in dump["pg_config"].values()} == {"default_pg", "the first two"}
    assert all(one["state"] == "completed" and one["retired"] for one in dump["entries"])
    assert any(frame["name"] == "collectives" for frame in dump["entries"][0]["frames"])
    tables = analysed(folder)
    assert len(tables.collectives) == count + 1
    return [one.collective_name for one in tables.collectives if one.pass_check]


def absent(rank: Rank, where: str) -> list[str]:
    """The last rank does not come to the second all_reduce: what the analyzer says of the dump that
    the time-out wrote, and of the one that the absent rank is asked for."""
    folder = Path(where)
    rank.join(timeout=timedelta(seconds=2))
    dist.all_reduce(torch.ones(3))
    last = rank.size - 1
    if rank.rank == last:
        time.sleep(3)
        (folder / f"rank{last}").write_bytes(flexlink.torch.flight_record())
        await_file(rank, "analysed")
        return []
    try:
        dist.all_reduce(torch.ones(5))
    except dist.DistBackendError:
        pass
    else:
        raise AssertionError("no error")
    deadline = time.monotonic() + 10
    while len(list(folder.glob("rank?"))) < rank.size:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if rank.rank != 0:
        return []
    time.sleep(0.2)  # the files are there; now they are whole
    waiting = pickle.loads((folder / "rank0").read_bytes())["entries"]
    assert [one["state"] for one in waiting] == ["completed", "scheduled"]
    tables = analysed(folder)
    (rank.folder / "analysed").touch()
    left = [one for one in tables.collectives if one.missing_ranks]
    return [f"{one.collective_name} of {one.input_sizes}: {one.missing_ranks}" for one in left]


def nothing(rank: Rank) -> int:
    """How much is kept after an operation."""
    rank.join()
    dist.all_reduce(torch.ones(3))
    return len(pickle.loads(flexlink.torch.flight_record())["entries"])


def overflow(rank: Rank, room: int, count: int) -> list[int]:
    """The numbers of the operations that are left of more than there is room for."""
    rank.join()
    for _ in range(count):
        dist.all_reduce(torch.ones(3))
    entries = pickle.loads(flexlink.torch.flight_record())["entries"]
    assert len(entries) == room
    return [entry["collective_seq_id"] for entry in entries]
