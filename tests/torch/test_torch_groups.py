# SPDX-License-Identifier: Apache-2.0
"""Groups of every making, backend strings, and what torch pins for plugins."""

from __future__ import annotations

import pytest
from torch_ranks import Fresh, Ranks, expect_all_passed
from torch_support import BACKEND, only_flexlink

MAPPINGS_MORE = 12  # what malloc may add for a thread's arena


@pytest.mark.parametrize(
    "body", ["subsets", "made_by_members_only", "overlapping", "subgroups", "sequence_numbers"]
)
def test_groups(ranks: Ranks, body: str) -> None:
    ranks(f"groups:{body}")


@only_flexlink
def test_the_groups_own_split(ranks: Ranks) -> None:
    ranks("groups:split")


def test_two_hundred_groups_leave_nothing_behind(two_ranks: Ranks) -> None:
    for before, after in two_ranks("groups:many", 200, fresh=True, limit=60):
        assert after["files"] <= before["files"], (before, after)
        assert after["threads"] <= before["threads"], (before, after)
        assert after["mappings"] <= before["mappings"] + MAPPINGS_MORE, (before, after)


def test_many_groups_live_together(ranks: Ranks) -> None:
    ranks("groups:alive_together", 30, limit=60)


def test_a_process_can_begin_again(fresh_ranks: Fresh) -> None:
    expect_all_passed(fresh_ranks(2, "groups:again_and_again").finish(40))


@pytest.mark.parametrize(
    "backend",
    [BACKEND, f"cpu:{BACKEND}", f"cpu:{BACKEND},cuda:{BACKEND}", f"cpu:gloo,cuda:{BACKEND}"],
)
def test_backend_strings(fresh_ranks: Fresh, backend: str) -> None:
    outcomes = fresh_ranks(2, "groups:with_string", backend).finish(40)
    expect_all_passed(outcomes)
    if ":" not in backend:
        assert all("No backend of type" not in outcome.output for outcome in outcomes)


def test_detail_mode_works_and_finds_unlike_calls(fresh_ranks: Fresh) -> None:
    ranks = fresh_ranks(2, "groups:detail", env={"TORCH_DISTRIBUTED_DEBUG": "DETAIL"})
    texts = [outcome.value for outcome in ranks.finish(40)]
    assert any("ALLREDUCE" in text and "BROADCAST" in text for text in texts), texts


def test_set_timeout_of_the_backend(ranks: Ranks) -> None:
    ranks("groups:set_timeout", fresh=True)


def test_the_groups_monitored_barrier_names_who_is_missing(ranks: Ranks) -> None:
    ranks("groups:monitored_barrier", fresh=True)


@only_flexlink
def test_what_torch_does_not_let_a_plugin_do(two_ranks: Ranks) -> None:
    """Traps 5, 6 and 7."""
    two_ranks("groups:pinned")


@only_flexlink
def test_what_the_backend_has_not_says_so(two_ranks: Ranks) -> None:
    """Trap 19."""
    two_ranks("groups:not_carried")


def test_abort_ends_what_waits(fresh_ranks: Fresh) -> None:
    expect_all_passed(fresh_ranks(2, "groups:abort").finish(40))


@only_flexlink
@pytest.mark.parametrize("size", [2, 4])
def test_a_group_can_shrink(fresh_ranks: Fresh, size: int) -> None:
    expect_all_passed(fresh_ranks(size, "groups:shrink_living").finish(40))
