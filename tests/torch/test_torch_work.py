# SPDX-License-Identifier: Apache-2.0
"""Work: waiting, futures, callbacks, lifetimes, threads."""

from __future__ import annotations

import pytest
from torch_ranks import Ranks
from torch_support import only_flexlink


@pytest.mark.parametrize(
    "body",
    [
        "life", "wait_with_limit", "futures", "collectives_in_callbacks", "tensors_stay_alive",
        "dropped_work", "waited_by_another_thread", "reverse_order",
    ],
)  # fmt: skip
def test_work(ranks: Ranks, body: str) -> None:
    ranks(f"work:{body}")


def test_wait_ends_soon_after_its_limit(ranks: Ranks) -> None:
    ranks("work:limit_passes", fresh=True)


@only_flexlink
def test_what_else_may_be_asked_of_a_work(ranks: Ranks) -> None:
    """Trap 18."""
    ranks("work:questions")


@only_flexlink
def test_the_result_of_a_work_is_a_word(ranks: Ranks) -> None:
    ranks("work:future_result")


@pytest.mark.parametrize(("threads", "collectives"), [(2, 100), (6, 30)])
def test_threads_with_a_group_each(ranks: Ranks, threads: int, collectives: int) -> None:
    ranks("work:threads", threads, collectives)
