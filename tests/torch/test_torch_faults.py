# SPDX-License-Identifier: Apache-2.0
"""Deaths, limits and exits: who is named, in which exception, and how soon."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest
from torch_ranks import HERE, Fresh, Ranks, expect_all_passed, free_port, run_command
from torch_support import BACKEND, IS_FLEXLINK, beyond_gloo, only_flexlink

DEATH = 5.0  # seconds after which every survivor knows
LATE = 2.0  # seconds that an error may come after its limit
SOAK = os.environ.get("FLEXLINK_SOAK") == "1"


def check_error(kind: str, text: str, missed: int) -> None:
    """The exception that torch's users catch, and the name of the rank that is missed."""
    assert "RuntimeError" in kind.split()
    if IS_FLEXLINK:
        assert "DistBackendError" in kind.split()
        assert re.search(rf"\brank {missed}\b", text), text


@pytest.mark.parametrize(
    ("size", "operation", "victim"),
    [
        (2, "all_reduce", 1), (4, "all_reduce", 3), (4, "all_reduce", 0), (2, "barrier", 1),
        (2, "recv", 1), (4, "async", 2), (2, "future", 1),
    ],
)  # fmt: skip
def test_every_survivor_names_who_was_killed(
    fresh_ranks: Fresh, size: int, operation: str, victim: int
) -> None:
    outcomes = fresh_ranks(size, "faults:killed", operation, victim).finish(30)
    assert outcomes.pop(victim).status == -signal.SIGKILL
    for kind, text, since in expect_all_passed(outcomes):
        check_error(kind, text, victim)
        assert since < DEATH


@only_flexlink
def test_survivors_go_on_in_a_smaller_world_twice(fresh_ranks: Fresh) -> None:
    outcomes = fresh_ranks(4, "faults:shrink", 2).finish(40)
    victims = [outcomes.pop(3), outcomes.pop(2)]
    assert [victim.status for victim in victims] == [-signal.SIGKILL] * 2
    expect_all_passed(outcomes)


@pytest.mark.parametrize(
    ("size", "operation"), [(2, "all_reduce"), (4, "all_reduce"), (2, "async"), (2, "recv")]
)
def test_who_does_not_come_is_named_when_the_limit_is_over(
    fresh_ranks: Fresh, size: int, operation: str
) -> None:
    limit = 2.0
    values = expect_all_passed(fresh_ranks(size, "faults:timeout", operation, limit).finish(30))
    assert values.pop() is None
    for kind, text, took in values:
        check_error(kind, text, size - 1)
        assert limit - 0.01 <= took <= limit + LATE


@only_flexlink
@pytest.mark.parametrize("operation", ["all_reduce", "recv", "any source", "batch"])
def test_the_result_of_what_nobody_came_to_is_a_time_out(
    fresh_ranks: Fresh, operation: str
) -> None:
    values = expect_all_passed(fresh_ranks(2, "faults:late_result", operation, 1.0).finish(30))
    assert values == ["TIMEOUT", None]


@pytest.mark.parametrize("how", ["idle", "outstanding", "destroyed"])
def test_exit_neither_hangs_nor_crashes(fresh_ranks: Fresh, how: str) -> None:
    outcomes = fresh_ranks(2, "faults:leave", how).finish(15)
    expect_all_passed(outcomes)


# torchrun's own store outlives a restart with all its keys (unless "own store" is asked for), and
# torch 2.13 gives an attempt no prefix any more: Gloo then calls at the dead ranks' addresses.
@pytest.mark.timeout(700 if SOAK else 120)
@pytest.mark.parametrize("rendezvous", [beyond_gloo("static"), "own store"])
def test_torchrun_restarts_after_a_kill_on_the_same_port(rendezvous: str) -> None:
    restarts = 20 if SOAK else 2
    port = free_port()
    place = {
        "static": ["--master-port", str(port)],
        "own store": ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}"],
    }[rendezvous]
    program = [str(HERE / "programs" / "elastic.py"), BACKEND, str(restarts)]
    torchrun = [str(Path(sys.executable).parent / "torchrun"), "--nproc-per-node", "2"]
    words = [*torchrun, *place, "--max-restarts", str(restarts), *program]
    setting = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"} if rendezvous == "own store" else {}
    done = run_command(words, 60 + 30 * restarts if SOAK else 100, setting)
    assert done.returncode == 0, done.stderr[-4000:]
    said = sorted(re.findall(r"rank \d done after \d+ restarts", done.stdout))
    assert said == [f"rank {r} done after {restarts} restarts" for r in (0, 1)]


def test_workers_of_a_data_loader_are_forked_beside_a_live_group(ranks: Ranks) -> None:
    ranks("faults:data_loader")


def test_a_forked_child_leaves_its_parents_group_alone(ranks: Ranks) -> None:
    ranks("faults:forked_child")
