# SPDX-License-Identifier: Apache-2.0
"""What an array says of its memory, whichever protocol it speaks. Values only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Exported(NamedTuple):
    """`owner` keeps the memory alive. stream: as in buffers.View."""

    address: int
    shape: tuple[int, ...]
    contiguous: bool
    type_name: str
    type_size: int
    read_only: bool
    owner: object
    stream: int | None = None


def is_contiguous(shape: Sequence[int], strides: Sequence[int], unit: int) -> bool:
    """Whether strides are those of a C-ordered block; extents of 1 do not matter.

    unit: what a step from one element to the next is: 1, or the bytes of an element.
    """
    expected = unit
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        if extent > 1 and stride != expected:
            return math.prod(shape) == 0
        expected *= extent
    return True
