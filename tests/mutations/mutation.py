# SPDX-License-Identifier: Apache-2.0
"""What a planted fault is."""

from typing import NamedTuple


class Mutation(NamedTuple):
    """One fault: the first `find` in `file` becomes `put`, and `program` with `tests` must fail."""

    promise: str
    file: str
    find: str
    put: str
    program: str  # test_unit, test_conformance, test_ranks, test_fault
    tests: str  # a GoogleTest filter
