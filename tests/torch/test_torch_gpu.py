# SPDX-License-Identifier: Apache-2.0
"""Tensors on a GPU: the same bodies as on the CPU, and what is a GPU's alone."""

from __future__ import annotations

import pytest
from torch_ranks import Ranks

pytestmark = pytest.mark.timeout(180)

types = pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool", "complex64", "int16"])


@types
@pytest.mark.parametrize("body", [
    "broadcast", "all_gather_uneven", "gather", "scatter", "all_to_all_even", "all_to_all_splits", "all_gather_coalesced",
])  # fmt: skip
def test_moves(gpu_ranks: Ranks, body: str, dtype: str) -> None:
    gpu_ranks(f"collectives:{body}", dtype)


@types
@pytest.mark.parametrize("form", ["list", "tensor", "stacked"])
def test_all_gather(gpu_ranks: Ranks, dtype: str, form: str) -> None:
    gpu_ranks("collectives:all_gather", dtype, form)


@types
@pytest.mark.parametrize("uneven", [False, True])
def test_all_to_all_of_lists(gpu_ranks: Ranks, dtype: str, uneven: bool) -> None:
    gpu_ranks("collectives:all_to_all_lists", dtype, uneven)


def test_shapes(gpu_ranks: Ranks) -> None:
    gpu_ranks("collectives:shapes")
    gpu_ranks("collectives:barrier")
    gpu_ranks("collectives:objects")
