# SPDX-License-Identifier: Apache-2.0
"""What flexlink_perf does with processes: pinning, a rank that dies, time limits, no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flexlink._native import library_path
from flexlink.perf import find_program

pytestmark = pytest.mark.timeout(60)


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [find_program(), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FLEXLINK_LIBRARY": str(library_path())},
        stdin=subprocess.DEVNULL,
    )


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    """Not even a zombie: nobody but init could have reaped it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def endless_ranks() -> tuple[subprocess.Popen[str], list[int]]:
    """A job that runs until somebody ends it, with its first row already printed."""
    job = start("all_reduce", "--ranks", "2", "-b", "8", "-e", "8", "-n", "100", "-N", "0")
    assert job.stdout is not None
    for line in job.stdout:
        if line[0] != "#":
            break
    return job, children(job.pid)


def assert_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(running(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there: {[pid for pid in pids if running(pid)]}"
        time.sleep(0.02)


def test_rank_that_is_killed_ends_the_job_with_a_text() -> None:
    job, ranks = endless_ranks()
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    _, errors = job.communicate(timeout=30)
    assert job.returncode != 0
    assert f"process {ranks[1]} was ended by signal 9" in errors
    assert_gone(ranks)


def test_launcher_that_is_killed_leaves_no_rank() -> None:
    job, ranks = endless_ranks()
    job.kill()
    job.wait(timeout=10)
    assert_gone(ranks)


def test_comparison_that_is_killed_leaves_no_rank_even_a_stopped_one() -> None:
    job = start("all_reduce", "--vs", str(library_path()), "-b", "8", "-e", "8", "-n", "100000")
    assert job.stdout is not None
    assert job.stdout.readline().startswith("# all_reduce: ours FlexLink")
    workers = children(job.pid)
    assert len(workers) == 4
    job.kill()
    job.wait(timeout=10)
    assert_gone(workers)


def test_row_without_progress_is_given_up_after_its_time() -> None:
    job = start(*"all_reduce --ranks 2 -b 8 -e 8 -n 1000000000 -T 1".split())
    _, errors = job.communicate(timeout=30)
    assert job.returncode == 1
    assert "no progress within the time of -T" in errors


@pytest.fixture
def two_cores() -> Iterator[list[int]]:
    """At most two cores for this process and what it starts, while the test runs."""
    before = os.sched_getaffinity(0)
    cores = sorted(before)[:2]
    os.sched_setaffinity(0, cores)
    yield cores
    os.sched_setaffinity(0, before)


def test_ranks_are_pinned_one_for_each_core_where_there_are_enough(two_cores: list[int]) -> None:
    cores = two_cores
    one_too_many = str(len(cores) + 1)
    enough = start("all_reduce", "--ranks", str(len(cores)), "-b", "8", "-e", "8")
    lines = [line for line in enough.communicate(timeout=30)[0].splitlines() if "  Rank" in line]
    assert [line.rpartition(", core ")[2] for line in lines] == [str(core) for core in cores]
    crowded = start("all_reduce", "--ranks", one_too_many, "-b", "8", "-e", "8")
    assert ", core " not in crowded.communicate(timeout=30)[0]
