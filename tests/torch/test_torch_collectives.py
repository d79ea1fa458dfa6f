# SPDX-License-Identifier: Apache-2.0
"""Collectives that move bytes, of every type, size and group, blocking and not."""

from __future__ import annotations

import pytest
from torch_ranks import Ranks
from torch_support import beyond_gloo, only_flexlink

GLOO_TYPES = (
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int8",
    "uint8",
    "int32",
    "int64",
    "bool",
)
COMPLEX = ("complex64", "complex128")
MORE = tuple(beyond_gloo(name) for name in ("int16", "float8_e4m3fn", "float8_e5m2"))
every_type = pytest.mark.parametrize("dtype", [*GLOO_TYPES, *COMPLEX, *MORE])
# One of each width, and those that need care.
some_types = pytest.mark.parametrize("dtype", ["float32", "bool", "int64", "complex64", *MORE])


@every_type
def test_broadcast(ranks: Ranks, dtype: str) -> None:
    ranks("collectives:broadcast", dtype)


@every_type
@pytest.mark.parametrize("form", ["list", "tensor"])
def test_all_gather(ranks: Ranks, dtype: str, form: str) -> None:
    ranks("collectives:all_gather", dtype, form)


@only_flexlink
@some_types
def test_all_gather_into_a_stack(ranks: Ranks, dtype: str) -> None:
    ranks("collectives:all_gather", dtype, "stacked")


@only_flexlink
@some_types
def test_all_gather_of_unequal_lengths(ranks: Ranks, dtype: str) -> None:
    ranks("collectives:all_gather_uneven", dtype)


@some_types
@pytest.mark.parametrize("body", ["all_gather_coalesced", "all_gather_coalesced_lists"])
def test_all_gather_of_several_tensors_at_once(ranks: Ranks, dtype: str, body: str) -> None:
    ranks(f"collectives:{body}", dtype)


@pytest.mark.parametrize("dtype", [*GLOO_TYPES, *(beyond_gloo(name) for name in COMPLEX), *MORE])
def test_gather(ranks: Ranks, dtype: str) -> None:
    ranks("collectives:gather", dtype)


@every_type
def test_scatter(ranks: Ranks, dtype: str) -> None:
    ranks("collectives:scatter", dtype)


@some_types
@pytest.mark.parametrize("uneven", [False, beyond_gloo(True)])
def test_all_to_all_of_lists(ranks: Ranks, dtype: str, uneven: bool) -> None:
    ranks("collectives:all_to_all_lists", dtype, uneven)


@every_type
def test_all_to_all_of_equal_blocks(ranks: Ranks, dtype: str) -> None:
    ranks("collectives:all_to_all_even", dtype)


@some_types
def test_all_to_all_of_unequal_and_empty_blocks(ranks: Ranks, dtype: str) -> None:
    ranks("collectives:all_to_all_splits", dtype)


def test_views_scalars_and_channels_last(ranks: Ranks) -> None:
    ranks("collectives:shapes")


def test_nobody_leaves_a_barrier_before_all_have_come(ranks: Ranks) -> None:
    ranks("collectives:barrier")


def test_objects(ranks: Ranks) -> None:
    ranks("collectives:objects")
