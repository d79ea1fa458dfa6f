# SPDX-License-Identifier: Apache-2.0
"""Collectives that compute: results are whole numbers, exact in every type."""

from __future__ import annotations

import torch
import torch.distributed as dist

from bodies.common import (
    LARGE,
    SIZES,
    Rank,
    Team,
    dtype_of,
    each_way,
    fails,
    finish,
    numbers,
    red_op,
    reduced,
    same,
)


def inputs_of(
    op: str, dtype: torch.dtype, count: int, size: int, key: int = 0
) -> list[torch.Tensor]:
    """What each rank of a group brings; multiples of its size where the mean is asked for."""
    inputs = [numbers(dtype, count, key + i) for i in range(size)]
    return [each * size for each in inputs] if op == "AVG" else inputs


def all_reduce(rank: Rank, name: str, op: str) -> None:
    """In place."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        inputs = inputs_of(op, dtype, count, team.size)
        x = inputs[team.me].clone()
        finish(dist.all_reduce(x, red_op(op), group=team.group, async_op=async_op), async_op)
        same(x, reduced(op, inputs))

    each_way(rank, check)


def reduce(rank: Rank, name: str, op: str) -> None:
    """To every root."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        for root in range(team.size):
            inputs = inputs_of(op, dtype, count, team.size, root)
            x = inputs[team.me].clone()
            work = dist.reduce(
                x, op=red_op(op), group=team.group, group_dst=root, async_op=async_op
            )
            finish(work, async_op)
            if team.me == root:
                same(x, reduced(op, inputs))

    each_way(rank, check)


def reduce_scatter(rank: Rank, name: str, op: str, form: str) -> None:
    """From a list, from a flat tensor, from a stacked one; inputs stay as they were."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        blocks = [inputs_of(op, dtype, count, team.size, 5 * other) for other in range(team.size)]
        mine = [block[team.me] for block in blocks]
        x = torch.zeros(count, dtype=dtype)
        group, reduce_op = team.group, red_op(op)
        if form == "list":
            given = [tensor.clone() for tensor in mine]
            work = dist.reduce_scatter(x, given, reduce_op, group=group, async_op=async_op)
        else:
            whole = torch.cat(mine) if form == "tensor" else torch.stack(mine)
            given = list(whole.view(team.size, count))
            call = dist.reduce_scatter_tensor if form == "tensor" else dist.reduce_scatter_single
            work = call(x, whole, reduce_op, group=group, async_op=async_op)
        finish(work, async_op)
        same(x, reduced(op, blocks[team.me]))
        for other, tensor in enumerate(given):
            same(tensor, mine[other], f"input for {other}")

    each_way(rank, check)


def reduce_scatter_uneven(rank: Rank, name: str, op: str) -> None:
    """A list with another length for each rank, also zero."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        counts = [count * other + (other == team.size - 1) for other in range(team.size)]
        blocks = [inputs_of(op, dtype, length, team.size, i) for i, length in enumerate(counts)]
        x = torch.zeros(counts[team.me], dtype=dtype)
        given = [block[team.me] for block in blocks]
        work = dist.reduce_scatter(x, given, red_op(op), group=team.group, async_op=async_op)
        finish(work, async_op)
        same(x, reduced(op, blocks[team.me]))

    each_way(rank, check)


def coalesced(rank: Rank, name: str, op: str) -> None:
    """Several all_reduce and several reduce_scatter at once, through the manager's fast path, and
    the call all_reduce_coalesced."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        counts = [count, 3, 2 * count]
        inputs = [inputs_of(op, dtype, length, team.size, i) for i, length in enumerate(counts)]
        tensors = [row[team.me].clone() for row in inputs]
        with dist._coalescing_manager(group=team.group, async_ops=async_op) as manager:
            for tensor in tensors:
                dist.all_reduce(tensor, red_op(op), group=team.group)
        if async_op:
            manager.wait()
        again = [row[team.me].clone() for row in inputs]
        work = dist.all_reduce_coalesced(again, red_op(op), team.group, async_op)
        if async_op:
            work.wait()
        for i, row in enumerate(inputs):
            same(tensors[i], reduced(op, row), f"tensor {i} of the manager")
            same(again[i], reduced(op, row), f"tensor {i} of the call")

    each_way(rank, check)


def reduce_scatter_coalesced(rank: Rank, name: str, op: str) -> None:
    """Several at once, through the manager's fast path."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        counts = [count, 3, 2 * count]
        outputs = [torch.zeros(length, dtype=dtype) for length in counts]
        inputs = [
            inputs_of(op, dtype, length * team.size, team.size, i)
            for i, length in enumerate(counts)
        ]
        with dist._coalescing_manager(group=team.group, async_ops=async_op) as manager:
            for output, row in zip(outputs, inputs, strict=True):
                dist.reduce_scatter_tensor(output, row[team.me], red_op(op), group=team.group)
        if async_op:
            manager.wait()
        for i, (output, row) in enumerate(zip(outputs, inputs, strict=True)):
            wanted = reduced(op, row).view(team.size, counts[i])[team.me]
            same(output, wanted, f"tensor {i}")

    each_way(rank, check)


def premul_sum(rank: Rank, name: str, as_tensor: bool) -> None:
    """The sum of what each rank multiplies first: by one half, and by a tensor's three."""
    dtype = dtype_of(name)

    def check(team: Team, count: int, async_op: bool) -> None:
        factor = torch.tensor([3.0], dtype=dtype) if as_tensor else 0.5
        scale = 3.0 if as_tensor else 0.5
        inputs = [2 * numbers(dtype, count, i) for i in range(team.size)]
        wanted = (torch.stack([x.double() for x in inputs]).sum(0) * scale).to(dtype)
        x = inputs[team.me].clone()
        op = red_op("", factor)
        finish(dist.all_reduce(x, op, group=team.group, async_op=async_op), async_op)
        same(x, wanted, "all_reduce")
        output = torch.zeros_like(x)
        given = torch.cat([inputs[team.me]] * team.size)
        work = dist.reduce_scatter_tensor(output, given, op, group=team.group, async_op=async_op)
        finish(work, async_op)
        same(output, wanted, "reduce_scatter")

    each_way(rank, check)


def infinities(rank: Rank, name: str) -> None:
    """Infinities stay; overflow becomes one; NaN is not lost."""
    dtype = dtype_of(name)
    team = rank.world()
    biggest, inf = torch.finfo(dtype).max, float("inf")
    rows = [[inf, -inf, biggest, inf, float("nan")], [1.0, 1.0, biggest, -inf, 1.0]]
    x = torch.tensor(rows[min(team.me, 1)] if team.me < 2 else [0.0] * 5, dtype=dtype)
    dist.all_reduce(x)
    assert x[0] == inf and x[1] == -inf and x[2] == inf, x
    assert x[3].isnan() and x[4].isnan(), x


def narrow_floats(rank: Rank, name: str) -> None:
    """16 bits are added up in 32 and rounded once: 2^k + 1 + 1 is exact, 2^k + 1 alone is not."""
    dtype = dtype_of(name)
    step = 1 / torch.finfo(dtype).eps  # the first integer whose successor is not a number
    values = [2 * step, 1.0, 1.0, 0.0][: rank.size]
    wanted = 2 * step + (2.0 if rank.size == 4 else 0.0)
    x = torch.full((1001,), values[rank.rank], dtype=dtype)
    dist.all_reduce(x)
    same(x, torch.full((1001,), wanted, dtype=dtype))


def bools_stay_bools(rank: Rank) -> None:
    """true + true is the byte 1, not 2: what comes after reads it so."""
    for op in ("SUM", "MAX", "PRODUCT", "MIN"):
        x = torch.ones(1001, dtype=torch.bool)
        dist.all_reduce(x, red_op(op))
        same(x, torch.ones(1001, dtype=torch.bool), op)
        y = torch.full((1001,), rank.rank == 0)
        dist.all_reduce(y, red_op(op))
        same(y, torch.full((1001,), op in ("SUM", "MAX")), op)


def refused(rank: Rank, name: str, op: str, words: list[str]) -> None:
    """A clear error on every rank, for every operation that reduces; the group works on."""
    dtype = dtype_of(name)
    kinds = (RuntimeError, ValueError, TypeError, NotImplementedError)
    for team in (rank.world(), rank.part()):
        x = torch.ones(4, dtype=dtype)
        whole = torch.ones(4 * team.size, dtype=dtype)
        fails(kinds, words, lambda t=team, x=x: dist.all_reduce(x, red_op(op), group=t.group))
        fails(kinds, words, lambda t=team, x=x: dist.reduce(
            x, op=red_op(op), group=t.group, group_dst=0))  # fmt: skip
        fails(kinds, words, lambda t=team, x=x, w=whole: dist.reduce_scatter_tensor(
            x, w, red_op(op), group=t.group))  # fmt: skip
        y = torch.ones(3)
        dist.all_reduce(y, group=team.group)
        same(y, torch.full((3,), float(team.size)))


def not_dense(rank: Rank) -> None:
    """Every second element of something: refused by every operation, as Gloo and NCCL do."""
    team = rank.world()
    x, n = torch.ones(8)[::2], team.size
    good, wide = torch.ones(4), torch.ones(4 * n)
    calls = {
        "all_reduce": lambda: dist.all_reduce(x),
        "broadcast": lambda: dist.broadcast(x, src=0),
        "reduce": lambda: dist.reduce(x, dst=0),
        "all_gather": lambda: dist.all_gather([good.clone() for _ in range(n)], x),
        "all_gather, output": lambda: dist.all_gather([x] * n, good),
        "all_gather_into_tensor": lambda: dist.all_gather_into_tensor(wide, x),
        "reduce_scatter_tensor": lambda: dist.reduce_scatter_tensor(x, wide),
        "all_to_all_single": lambda: dist.all_to_all_single(torch.ones(2 * n)[::2], wide[:n]),
        "send": lambda: dist.send(x, dst=(team.me + 1) % n),
        "recv": lambda: dist.recv(x, src=(team.me + 1) % n),
    }
    for name, call in calls.items():
        try:
            fails((RuntimeError, ValueError), ("contiguous", "dense"), call)
        except AssertionError as error:
            error.add_note(name)
            raise
    dist.all_reduce(good)
    same(good, torch.full((4,), float(n)))


def sparse(rank: Rank) -> None:
    """Refused with words that say what is wrong; the group works on."""
    x = torch.eye(3).to_sparse()
    fails((RuntimeError, ValueError, NotImplementedError), ["sparse"], lambda: dist.all_reduce(x))
    y = torch.ones(3)
    dist.all_reduce(y)
    same(y, torch.full((3,), float(rank.size)))


def unlike_types(rank: Rank) -> None:
    """Lists of tensors of unlike types or devices are refused before anything is sent."""
    team = rank.world()
    x = torch.ones(4)
    outputs = [torch.ones(4, dtype=torch.float64) for _ in range(team.size)]
    fails((RuntimeError, ValueError), ["type"], lambda: dist.all_gather(outputs, x))
    wrong = [torch.ones(4) for _ in range(team.size + 1)]
    fails(
        (RuntimeError, ValueError), ["size", "length", "tensors"], lambda: dist.all_gather(wrong, x)
    )
    short = torch.ones(4 * team.size - 1)
    fails(
        (RuntimeError, ValueError),
        ["size", "elements"],
        lambda: dist.all_gather_into_tensor(short, x),
    )
    dist.all_reduce(x)
    same(x, torch.full((4,), float(team.size)))


def large(rank: Rank) -> None:
    """16 MiB and a bit, all kinds of progress at once."""
    count = (4 << 20) + 3
    inputs = [numbers(torch.float32, count, i) for i in range(rank.size)]
    x = inputs[rank.rank].clone()
    works = [dist.all_reduce(x, async_op=True), dist.barrier(async_op=True)]
    for work in works:
        work.wait()
    same(x, reduced("SUM", inputs))


assert SIZES[-1] < LARGE  # each_way() goes from empty to large
