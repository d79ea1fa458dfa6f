# SPDX-License-Identifier: Apache-2.0
"""A rank, its groups, and exact inputs and results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SIZES = (0, 1, 7, 1001)
LARGE = 100_003  # elements; above it all stay in one message


@dataclass
class Team:
    """A process group as one of its members sees it."""

    name: str
    group: dist.ProcessGroup
    ranks: list[int]  # their numbers in the world
    me: int  # the number in the group

    @property
    def size(self) -> int:
        """How many members it has."""
        return len(self.ranks)


@dataclass
class Rank:
    """What a body knows of itself; `folder` is shared by all ranks of the test."""

    rank: int
    size: int
    backend: str
    folder: Path
    kept: dict[str, Team] = field(default_factory=dict)

    def join(self, **options: Any) -> None:
        """Makes the world's group, as a user does."""
        dist.init_process_group(self.backend, rank=self.rank, world_size=self.size, **options)

    def world(self) -> Team:
        """The default group."""
        return Team("world", dist.group.WORLD, list(range(self.size)), self.rank)

    def part(self) -> Team:
        """A group beside it that does not begin with rank 0 where there are more than two; the
        rank that is left over has one of its own. It stays for the cases to come."""
        if "part" not in self.kept:
            inner = [0, 1] if self.size == 2 else list(range(1, self.size))
            alone = [rank for rank in range(self.size) if rank not in inner]
            for members in filter(None, (inner, alone)):
                group = dist.new_group(members)
                if self.rank in members:
                    self.kept["part"] = Team("part", group, members, members.index(self.rank))
        return self.kept["part"]


def device_type() -> str:
    """Where this rank's tensors lie: "cpu", or what gpu_device.use() has chosen."""
    return torch.get_default_device().type


def dtype_of(name: str) -> torch.dtype:
    """float32 → torch.float32."""
    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found


Check = Callable[[Team, int, bool], None]


def each_way(rank: Rank, check: Check, sizes: Sequence[int] = (*SIZES, LARGE)) -> None:
    """Calls check(team, count, async_op) for all teams, sizes, blocking and not."""
    for team in (rank.world(), rank.part()):
        for count in sizes:
            for async_op in (False, True):
                try:
                    check(team, count, async_op)
                except Exception as error:
                    error.add_note(f"in {team.name}, {count} elements, {async_op=}")
                    raise


def finish(work: dist.Work | None, async_op: bool) -> None:
    """A blocking call returns nothing; an asynchronous one a Work, which is waited for."""
    assert (work is not None) == async_op, work
    if work is not None:
        work.wait()


TABLE = torch.randint(
    0, 256, (9 << 20,), dtype=torch.uint8, generator=torch.Generator("cpu").manual_seed(7),
    device="cpu",
)  # fmt: skip


def bits(dtype: torch.dtype, count: int, *keys: int) -> torch.Tensor:
    """`count` elements, up to 8 MiB, with arbitrary bits; other bits for other `keys`, which are
    three at most and below 10, the last one of two below 100."""
    width = torch.empty(0, dtype=dtype).element_size()
    start = 16 * sum((key + 1) * 11**i for i, key in enumerate(keys, 1))
    found = TABLE[start : start + count * width].to(torch.get_default_device(), copy=True)
    return found % 2 == 0 if dtype == torch.bool else found.view(dtype)


def numbers(dtype: torch.dtype, count: int, key: int) -> torch.Tensor:
    """Small integers (0 to 4; where there is a sign, -2 to 2) that every type holds exactly."""
    values = (torch.arange(count) * 3 + torch.arange(count) // 5 + key * 2) % 5
    if dtype == torch.bool:
        return values % 2 == 0
    if dtype != torch.uint8:
        values = values - 2
    if dtype.is_complex:
        return torch.complex(values.double(), values.flip(0).double()).to(dtype)
    return values.to(dtype)


def reduced(op: str, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """The exact result of a reduction over `inputs`; AVG only where it is a whole number."""
    dtype = inputs[0].dtype
    wide = torch.float64 if dtype.is_floating_point else torch.int64  # 0 × -2 is -0.0
    wide = torch.complex128 if dtype.is_complex else wide
    stack = torch.stack([tensor.to(wide) for tensor in inputs])
    if op == "AVG":
        total = stack.sum(0)
        return (total / len(inputs)).to(dtype)
    if op in ("BAND", "BOR", "BXOR"):
        fold = {
            "BAND": torch.bitwise_and, "BOR": torch.bitwise_or, "BXOR": torch.bitwise_xor,
        }[op]  # fmt: skip
        result = stack[0]
        for row in stack[1:]:
            result = fold(result, row)
        return result.to(dtype)
    fold = {
        "SUM": lambda: stack.sum(0), "PRODUCT": lambda: stack.prod(0),
        "MIN": lambda: stack.amin(0), "MAX": lambda: stack.amax(0),
    }[op]  # fmt: skip
    return fold().to(dtype)


def red_op(op: str, scale: float | None = None) -> Any:
    """SUM → dist.ReduceOp.SUM; with `scale`: the premultiplied sum."""
    return dist._make_nccl_premul_sum(scale) if scale is not None else getattr(dist.ReduceOp, op)


def same(actual: torch.Tensor, expected: torch.Tensor, what: str = "result") -> None:
    """Type, shape and every bit are the expected ones; NaN is as good as any other bits."""
    assert actual.dtype == expected.dtype, (what, actual.dtype, expected.dtype)
    assert actual.shape == expected.shape, (what, actual.shape, expected.shape)
    left = actual.detach().contiguous().flatten().view(torch.uint8)
    right = expected.detach().contiguous().flatten().view(torch.uint8)
    if torch.equal(left, right):
        return
    first = int((left != right).nonzero()[0]) // max(1, actual.element_size())
    seen, wanted = actual.flatten()[first], expected.flatten()[first]
    raise AssertionError(f"{what}[{first}] of {actual.numel()} is {seen}, expected {wanted}")


def fails(kind: type[BaseException] | tuple[type[BaseException], ...], words: Sequence[str],
          call: Callable[[], object]) -> str:  # fmt: skip
    """The call must raise `kind` with one of `words` (none: any text) in its text, in any case."""
    try:
        call()
    except kind as error:
        text = str(error)
        assert not words or any(word.lower() in text.lower() for word in words), text
        return text
    raise AssertionError(f"no {kind}")


def await_file(rank: Rank, name: str) -> None:
    """Waits for what another rank touches."""
    deadline = time.monotonic() + 20
    while not (rank.folder / name).exists():
        assert time.monotonic() < deadline, name
        time.sleep(0.005)
