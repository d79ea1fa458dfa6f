# SPDX-License-Identifier: Apache-2.0
"""Any (collective, type, op, count, ranks, in place, offset, memory) gives the exact result.

Ranks are threads of this process. Values are small integers, so every partial sum and product is
exact in every type and the expectation is computed in int64, without tolerance.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import ml_dtypes
import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flexlink

TYPES = [
    *(numpy.dtype(n) for n in "int8 uint8 int32 uint32 int64 uint64".split()),
    *(numpy.dtype(n) for n in "float16 float32 float64".split()),
    numpy.dtype(ml_dtypes.bfloat16),
    numpy.dtype(ml_dtypes.float8_e4m3fn),
    numpy.dtype(ml_dtypes.float8_e5m2),
]
COLLECTIVES = (
    "all_reduce reduce broadcast all_gather reduce_scatter all_to_all gather scatter".split()
)
REDUCERS = {"sum": numpy.sum, "prod": numpy.prod, "min": numpy.min, "max": numpy.max}


class Case(NamedTuple):
    """One call on all ranks. `offset` elements lie before the data in each buffer."""

    collective: str
    dtype: Any
    op: str
    count: int
    ranks: int
    root: int
    in_place: bool
    offset: int
    shared: bool
    seed: int


class Ranks:
    """Communicators of 1 to 4 ranks, each rank a thread that lives as long as the test module."""

    def __init__(self) -> None:
        self._pools: dict[int, list[ThreadPoolExecutor]] = {}
        self._comms: dict[int, list[flexlink.Communicator]] = {}

    def each(self, size: int, call: Any) -> list[Any]:
        """call(communicator) on every rank at once; the results in rank order."""
        if size not in self._pools:
            self._pools[size] = [ThreadPoolExecutor(1) for _ in range(size)]
            key = flexlink.unique_id()
            joining = [
                pool.submit(flexlink.Communicator.connect, key, rank, size)
                for rank, pool in enumerate(self._pools[size])
            ]
            self._comms[size] = [future.result(60) for future in joining]
        pairs = zip(self._pools[size], self._comms[size], strict=True)
        return [f.result(60) for f in [pool.submit(call, comm) for pool, comm in pairs]]

    def close(self) -> None:
        for size, pools in self._pools.items():
            self.each(size, flexlink.Communicator.close)
            for pool in pools:
                pool.shutdown()


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    made = Ranks()
    yield made
    made.close()


def contribution(case: Case, rank: int, count: int) -> numpy.ndarray:
    """0, 1, 2: sums up to 8 and products up to 16 of 4 ranks, which the smallest float holds."""
    generator = numpy.random.default_rng([case.seed, rank])
    return generator.integers(0, 3, count).astype(numpy.int64)


def buffer(case: Case, count: int) -> numpy.ndarray:
    """An uninitialised array that starts `offset` elements into its memory."""
    make = flexlink.empty if case.shared else numpy.empty
    return make(case.offset + count, case.dtype)[case.offset :]


def filled(case: Case, values: numpy.ndarray) -> numpy.ndarray:
    made = buffer(case, len(values))
    made[:] = values.astype(case.dtype)
    return made


def input_blocks(case: Case) -> int:
    """Blocks of `count` elements in each rank's input."""
    return case.ranks if case.collective in ("reduce_scatter", "all_to_all", "scatter") else 1


def expected(case: Case, rank: int) -> numpy.ndarray | None:
    """The result on `rank` in int64; None where there is none."""
    whole = [contribution(case, r, case.count * input_blocks(case)) for r in range(case.ranks)]
    block = slice(rank * case.count, (rank + 1) * case.count)
    reduced = REDUCERS[case.op](whole, axis=0)
    at_root = rank == case.root
    return {
        "all_reduce": lambda: reduced,
        "reduce": lambda: reduced if at_root else None,
        "broadcast": lambda: whole[case.root],
        "all_gather": lambda: numpy.concatenate(whole),
        "reduce_scatter": lambda: reduced[block],
        "all_to_all": lambda: numpy.concatenate([x[block] for x in whole]),
        "gather": lambda: numpy.concatenate(whole) if at_root else None,
        "scatter": lambda: whole[case.root][block],
    }[case.collective]()


def perform(comm: flexlink.Communicator, case: Case) -> Any:
    """Makes this rank's buffers and the call; the result."""
    values = contribution(case, comm.rank, case.count * input_blocks(case))
    mine = slice(comm.rank * case.count, (comm.rank + 1) * case.count)
    name, at_root = case.collective, comm.rank == case.root
    x = filled(case, values)
    if name == "broadcast":
        return comm.broadcast(x, case.root)
    if name in ("all_reduce", "reduce"):
        out = None if case.in_place else buffer(case, case.count)
        if name == "all_reduce":
            return comm.all_reduce(x, out, case.op)
        return comm.reduce(x, out, case.op, case.root)
    if name in ("all_gather", "gather"):
        out = buffer(case, case.count * comm.size)
        if case.in_place and (at_root or name == "all_gather"):
            out[mine] = x
            x = out[mine]
        return comm.all_gather(x, out) if name == "all_gather" else comm.gather(x, out, case.root)
    if name == "reduce_scatter":
        return comm.reduce_scatter(
            x, x[mine] if case.in_place else buffer(case, case.count), case.op
        )
    if name == "scatter":
        out = x[mine] if case.in_place and at_root else buffer(case, case.count)
        return comm.scatter(x if at_root else None, out, case.root)
    return comm.all_to_all(x, buffer(case, case.count * comm.size))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    ranks = draw(st.integers(1, 4))
    return Case(
        collective=draw(st.sampled_from(COLLECTIVES)),
        dtype=draw(st.sampled_from(TYPES)),
        op=draw(st.sampled_from(sorted(REDUCERS))),
        count=draw(st.one_of(st.integers(0, 70), st.sampled_from([4096, 65537, 300_001]))),
        ranks=ranks,
        root=draw(st.integers(0, ranks - 1)),
        in_place=draw(st.booleans()),
        offset=draw(st.integers(0, 17)),
        shared=draw(st.booleans()),
        seed=draw(st.integers(0, 2**31)),
    )


@settings(
    max_examples=4000 if "FLEXLINK_SOAK" in os.environ else 400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(case=cases())
def test_any_call_gives_the_exact_result_on_every_rank(ranks: Ranks, case: Case) -> None:
    results = ranks.each(case.ranks, lambda comm: perform(comm, case))
    for rank, result in enumerate(results):
        value = expected(case, rank)
        if value is None:
            assert result is None
        else:
            assert (numpy.asarray(result).astype(numpy.int64) == value).all()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from([t for t in TYPES if t.kind in "fV"]),
    count=st.integers(1, 5000),
    size=st.integers(2, 4),
    seed=st.integers(0, 2**31),
)
def test_sums_of_any_floats_have_the_same_bits_every_time_and_on_every_rank(
    ranks: Ranks, kind: Any, count: int, size: int, seed: int
) -> None:
    inputs = numpy.random.default_rng(seed).normal(size=(size, count)).astype(kind)

    def summed(comm: flexlink.Communicator) -> bytes:
        return bytes(comm.all_reduce(inputs[comm.rank].copy()).view("uint8"))

    first = ranks.each(size, summed)
    assert set(first) == set(ranks.each(size, summed))
    assert len(set(first)) == 1
    wide = numpy.float64 if kind == numpy.float64 else numpy.float32
    fold = inputs[0].astype(wide)  # the promise: a left fold in rank order, rounded once
    for contributed in inputs[1:]:
        fold = fold + contributed.astype(wide)
    assert first[0] == bytes(fold.astype(kind).view("uint8"))
