# SPDX-License-Identifier: Apache-2.0
"""Collectives that compute, of every operation and type; what makes no sense is refused."""

from __future__ import annotations

import pytest
from torch_ranks import Ranks
from torch_support import beyond_gloo, only_flexlink

FLOATS = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("int8", "uint8", "int32", "int64")
FOLDS = ("SUM", "PRODUCT", "MIN", "MAX")
BITS = ("BAND", "BOR", "BXOR")

GLOO_CASES = [
    *((dtype, op) for dtype in (*FLOATS, *INTEGERS) for op in FOLDS),
    *((dtype, op) for dtype in INTEGERS for op in BITS),
]
MEANS = [beyond_gloo(dtype, "AVG") for dtype in (*FLOATS, "int32", "int64", "complex64")]
COMPLEX = [beyond_gloo(dtype, "SUM") for dtype in ("complex64", "complex128")]
BOOLS = [beyond_gloo("bool", op) for op in (*FOLDS, *BITS)]
every_case = pytest.mark.parametrize(("dtype", "op"), [*GLOO_CASES, *MEANS, *COMPLEX, *BOOLS])
some_cases = pytest.mark.parametrize(
    ("dtype", "op"),
    [
        *(("float32", op) for op in FOLDS), ("bfloat16", "SUM"), ("int64", "SUM"),
        ("uint8", "MAX"), beyond_gloo("float32", "AVG"), beyond_gloo("float16", "AVG"),
        beyond_gloo("complex64", "SUM"), beyond_gloo("int32", "BXOR"), beyond_gloo("bool", "SUM"),
    ],
)  # fmt: skip


@every_case
def test_all_reduce(ranks: Ranks, dtype: str, op: str) -> None:
    ranks("reductions:all_reduce", dtype, op)


@some_cases
def test_reduce(ranks: Ranks, dtype: str, op: str) -> None:
    ranks("reductions:reduce", dtype, op)


@some_cases
@pytest.mark.parametrize("form", ["list", "tensor", beyond_gloo("stacked")])
def test_reduce_scatter(ranks: Ranks, dtype: str, op: str, form: str) -> None:
    ranks("reductions:reduce_scatter", dtype, op, form)


@only_flexlink
@some_cases
def test_reduce_scatter_of_unequal_lengths(ranks: Ranks, dtype: str, op: str) -> None:
    ranks("reductions:reduce_scatter_uneven", dtype, op)


@some_cases
@pytest.mark.parametrize("body", ["coalesced", "reduce_scatter_coalesced"])
def test_several_tensors_at_once(ranks: Ranks, dtype: str, op: str, body: str) -> None:
    ranks(f"reductions:{body}", dtype, op)


@only_flexlink
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_premultiplied_sum(ranks: Ranks, dtype: str, as_tensor: bool) -> None:
    ranks("reductions:premul_sum", dtype, as_tensor)


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinities_and_nan(ranks: Ranks, dtype: str) -> None:
    ranks("reductions:infinities", dtype)


@only_flexlink
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_floats_are_rounded_once(ranks: Ranks, dtype: str) -> None:
    ranks("reductions:narrow_floats", dtype)


@only_flexlink
def test_bools_stay_bools(ranks: Ranks) -> None:
    ranks("reductions:bools_stay_bools")


@pytest.mark.parametrize(
    ("dtype", "op", "words"),
    [
        beyond_gloo("bool", "AVG", ["bool"]),
        *(("complex64", op, ["complex", "scalar type"]) for op in ("MIN", "MAX", "PRODUCT")),
        *((dtype, op, [op, "float", "bitwise"]) for dtype in FLOATS[:1] for op in BITS),
        beyond_gloo("float16", "BAND", ["BAND", "bitwise"]),
        beyond_gloo("bfloat16", "BXOR", ["BXOR", "bitwise"]),
        ("complex64", "BAND", ["complex", "scalar type"]),
    ],
)
def test_what_makes_no_sense_is_refused(
    ranks: Ranks, dtype: str, op: str, words: list[str]
) -> None:
    ranks("reductions:refused", dtype, op, words)


@only_flexlink
def test_tensors_with_gaps_are_refused(ranks: Ranks) -> None:
    ranks("reductions:not_dense")


@only_flexlink
def test_sparse_tensors_are_refused(ranks: Ranks) -> None:
    ranks("reductions:sparse")


def test_unlike_types_and_sizes_are_refused(ranks: Ranks) -> None:
    ranks("reductions:unlike_types")


def test_sixteen_mebibytes(ranks: Ranks) -> None:
    ranks("reductions:large")
