# SPDX-License-Identifier: Apache-2.0
"""Collectives that move bytes: what arrives is bit for bit what was sent."""

from __future__ import annotations

import torch
import torch.distributed as dist

from bodies.common import Rank, Team, bits, dtype_of, each_way, finish, same


def broadcast(rank: Rank, name: str) -> None:
    """From every root."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        for root in range(team.size):
            x = bits(dtype, count, team.me, root)
            finish(dist.broadcast(x, group=team.group, group_src=root, async_op=async_op), async_op)
            same(x, bits(dtype, count, root, root))

    each_way(rank, check)


def all_gather(rank: Rank, name: str, form: str) -> None:
    """Into a list, into one tensor (flat or stacked); inputs stay as they were."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        x = bits(dtype, count, team.me)
        wanted = [bits(dtype, count, other) for other in range(team.size)]
        outputs = [torch.zeros_like(x) for _ in wanted]
        if form == "list":
            work = dist.all_gather(outputs, x, group=team.group, async_op=async_op)
        else:
            shape = [team.size * count] if form == "tensor" else [team.size, count]
            call = dist.all_gather_into_tensor if form == "tensor" else dist.all_gather_single
            whole = torch.zeros(shape, dtype=dtype)
            work = call(whole, x, group=team.group, async_op=async_op)
            outputs = list(whole.view(team.size, count))
        finish(work, async_op)
        for other, output in enumerate(outputs):
            same(output, wanted[other], f"from {other}")
        same(x, wanted[team.me], "input")

    each_way(rank, check)


def all_gather_uneven(rank: Rank, name: str) -> None:
    """A list with another length for each rank, also zero."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        counts = [count * other + (other == team.size - 1) for other in range(team.size)]
        x = bits(dtype, counts[team.me], team.me)
        outputs = [torch.zeros(length, dtype=dtype) for length in counts]
        finish(dist.all_gather(outputs, x, group=team.group, async_op=async_op), async_op)
        for other, length in enumerate(counts):
            same(outputs[other], bits(dtype, length, other), f"from {other}")

    each_way(rank, check)


def all_gather_coalesced(rank: Rank, name: str) -> None:
    """Several tensors at once, by the coalescing manager's fast path and by the old call."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        counts = [count, 3, 2 * count]
        inputs = [bits(dtype, length, team.me, i) for i, length in enumerate(counts)]
        outputs = [torch.zeros(team.size * length, dtype=dtype) for length in counts]
        with dist._coalescing_manager(group=team.group, async_ops=async_op) as manager:
            for output, x in zip(outputs, inputs, strict=True):
                dist.all_gather_into_tensor(output, x, group=team.group)
        if async_op:
            manager.wait()
        for i, (length, output) in enumerate(zip(counts, outputs, strict=True)):
            for other, block in enumerate(output.view(team.size, length)):
                same(block, bits(dtype, length, other, i), f"tensor {i} from {other}")

    each_way(rank, check)


def all_gather_coalesced_lists(rank: Rank, name: str) -> None:
    """all_gather_coalesced: a list of lists."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        counts = [count, 5]
        inputs = [bits(dtype, length, team.me, i) for i, length in enumerate(counts)]
        outputs = [[torch.zeros_like(x) for x in inputs] for _ in range(team.size)]
        work = dist.all_gather_coalesced(outputs, inputs, group=team.group, async_op=async_op)
        if async_op:
            work.wait()
        for other, row in enumerate(outputs):
            for i, output in enumerate(row):
                same(output, bits(dtype, counts[i], other, i), f"tensor {i} from {other}")

    each_way(rank, check)


def gather(rank: Rank, name: str) -> None:
    """To every root."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        for root in range(team.size):
            x = bits(dtype, count, team.me, root)
            outputs = [torch.zeros_like(x) for _ in range(team.size)] if team.me == root else None
            work = dist.gather(x, outputs, group=team.group, group_dst=root, async_op=async_op)
            finish(work, async_op)
            for other, output in enumerate(outputs or []):
                same(output, bits(dtype, count, other, root), f"from {other}")

    each_way(rank, check)


def scatter(rank: Rank, name: str) -> None:
    """From every root."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        for root in range(team.size):
            inputs = [bits(dtype, count, other, root) for other in range(team.size)]
            mine = inputs if team.me == root else None
            x = torch.zeros(count, dtype=dtype)
            work = dist.scatter(x, mine, group=team.group, group_src=root, async_op=async_op)
            finish(work, async_op)
            same(x, bits(dtype, count, team.me, root))

    each_way(rank, check)


def all_to_all_lists(rank: Rank, name: str, uneven: bool) -> None:
    """Lists of tensors; `uneven`: each pair with a length of its own, some are empty."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        def length(source: int, target: int) -> int:
            if not uneven:
                return count
            return count + source if (source + target) % 3 else 0

        others = range(team.size)
        inputs = [bits(dtype, length(team.me, other), team.me, other) for other in others]
        outputs = [torch.zeros(length(other, team.me), dtype=dtype) for other in others]
        work = dist.all_to_all(outputs, inputs, group=team.group, async_op=async_op)
        finish(work, async_op)
        for other, output in enumerate(outputs):
            same(output, bits(dtype, length(other, team.me), other, team.me), f"from {other}")

    each_way(rank, check)


def all_to_all_even(rank: Rank, name: str) -> None:
    """One tensor, equal blocks."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        others = range(team.size)
        x = torch.cat([bits(dtype, count, team.me, other) for other in others])
        output = torch.zeros_like(x)
        finish(dist.all_to_all_single(output, x, group=team.group, async_op=async_op), async_op)
        same(output, torch.cat([bits(dtype, count, other, team.me) for other in others]))

    each_way(rank, check)


def all_to_all_splits(rank: Rank, name: str) -> None:
    """One tensor of rows of three, unequal blocks, some empty, one pair with none at all."""
    dtype = dtype_of(name)

    def rows(source: int, target: int, count: int) -> int:
        return (count * (target + 1) + source) % (count + 3) if source != target else 0

    def check(team: Team, count: int, async_op: bool) -> None:
        others = range(team.size)
        outward = [rows(team.me, other, count) for other in others]
        inward = [rows(other, team.me, count) for other in others]
        blocks = [bits(dtype, 3 * outward[other], team.me, other) for other in others]
        x = torch.cat(blocks).view(-1, 3)
        output = torch.zeros(sum(inward), 3, dtype=dtype)
        work = dist.all_to_all_single(
            output, x, inward, outward, group=team.group, async_op=async_op
        )
        finish(work, async_op)
        wanted = [bits(dtype, 3 * inward[other], other, team.me) for other in others]
        same(output, torch.cat(wanted).view(-1, 3))

    each_way(rank, check)


def shapes(rank: Rank) -> None:
    """Tensors with several dimensions, views with an offset, and scalars."""
    team = rank.world()
    x = torch.full((2, 3, 5), float(rank.rank))
    whole = torch.zeros(2 * team.size, 3, 5)
    dist.all_gather_into_tensor(whole, x)
    for other in range(team.size):
        same(whole[2 * other : 2 * other + 2], torch.full((2, 3, 5), float(other)))
    base = torch.full((10,), -1.0)
    view = base[3:7]
    view.fill_(rank.rank)
    dist.all_reduce(view)
    total = float(sum(range(team.size)))
    same(base, torch.tensor([-1.0] * 3 + [total] * 4 + [-1.0] * 3), "base of a view")
    scalar = torch.tensor(rank.rank)
    dist.all_reduce(scalar)
    same(scalar, torch.tensor(int(total)), "scalar")
    image = torch.full((2, 3, 4, 4), float(rank.rank)).to(memory_format=torch.channels_last)
    image[0, 1, 2, 3] = 10.0 * rank.rank
    dist.all_reduce(image)
    wanted = torch.full((2, 3, 4, 4), total)
    wanted[0, 1, 2, 3] = 10 * total
    same(image, wanted, "channels last")


def barrier(rank: Rank) -> None:
    """Nobody leaves before all have come: each has left a file by then."""
    for round_number in range(20):
        for team in (rank.world(), rank.part()):
            folder = rank.folder / f"{round_number}-{team.name}-{team.ranks[0]}"
            folder.mkdir(exist_ok=True)
            (folder / str(team.me)).touch()
            async_op = round_number % 2 == 1
            finish(dist.barrier(group=team.group, async_op=async_op), async_op)
            assert len(list(folder.iterdir())) == team.size


def objects(rank: Rank) -> None:
    """All collectives of Python objects, which may be of unequal size."""
    for team in (rank.world(), rank.part()):
        mine = {"rank": team.me, "text": "x" * (1000 * team.me)}
        all_objects = [{"rank": i, "text": "x" * (1000 * i)} for i in range(team.size)]
        seen: list[object] = [None] * team.size
        dist.all_gather_object(seen, mine, group=team.group)
        assert seen == all_objects
        for root in range(team.size):
            gathered: list[object] = [None] * team.size
            into = gathered if team.me == root else None
            dist.gather_object(mine, into, group=team.group, group_dst=root)
            assert gathered == (all_objects if team.me == root else [None] * team.size)
            told = [f"from {root}", root] if team.me == root else [None, None]
            dist.broadcast_object_list(told, group=team.group, group_src=root)
            assert told == [f"from {root}", root]
            got: list[object] = [None]
            dist.scatter_object_list(
                got, all_objects if team.me == root else None, group=team.group, group_src=root
            )
            assert got == [mine]
    if rank.rank == 0:
        dist.send_object_list(["a", {"b": 3}], dst=1)
    elif rank.rank == 1:
        received: list[object] = [None, None]
        dist.recv_object_list(received, src=0)
        assert received == ["a", {"b": 3}]
