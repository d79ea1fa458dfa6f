# SPDX-License-Identifier: Apache-2.0
"""Links that are cut, fall silent and come back, between two network namespaces: what an AllReduce
loses by it, and that every element stays right (the ranks check each of them)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from netns import TwoHosts

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "perf" / "links"))

from faults import await_busy, break_and_mend  # noqa: E402
from hosts import RANK  # noqa: E402

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None,
    reason="network namespaces need root and iproute2",
)
MEBI = 1 << 20


@pytest.mark.parametrize(
    ("kind", "limit_ms"), [("down here", 200), ("down there", 200), ("silent", 700)]
)
def test_a_cut_costs_an_all_reduce_little_and_the_link_comes_back(
    kind: str, limit_ms: float
) -> None:
    for _ in range(3):  # other programs may take turns on the cores
        seen = break_and_mend([1000, 1000], kind, 1, 4 * MEBI)
        if seen["added_ms"] <= limit_ms and seen["back_ms"] <= 2000:
            return
    raise AssertionError(seen)


def ranks(hosts: TwoHosts, folder: Path, seconds: float, **env: str) -> list[subprocess.Popen[str]]:
    """Two ranks that AllReduce for so long."""
    job = {"op": "all_reduce", "bytes": MEBI, "seconds": seconds, "folder": str(folder), "ranks": 2}
    return [
        subprocess.Popen(
            hosts.command(side, [sys.executable, str(RANK), json.dumps({**job, "rank": side})]),
            env={**os.environ, "NCCL_SOCKET_IFNAME": "fl", **env},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for side in (0, 1)
    ]  # fmt: skip


def test_a_host_that_answers_nothing_is_an_error_within_ten_seconds(tmp_path: Path) -> None:
    with TwoHosts([1000, 1000]) as hosts:
        both = ranks(hosts, tmp_path, 30)
        await_busy(tmp_path)
        began = time.monotonic()
        for link in (0, 1):
            hosts.set_silent(link, True)
        for side, process in enumerate(both):
            _, errors = process.communicate(timeout=30)
            assert process.returncode != 0
            assert f"rank {1 - side}" in errors, errors
        assert time.monotonic() - began < 11  # the ranks' end included


def test_a_host_that_vanishes_while_nothing_is_under_way_is_an_error_within_ten_seconds(
    tmp_path: Path,
) -> None:
    """Rank 1 is stopped, so that rank 0 only waits; then its host is gone."""
    with TwoHosts([1000, 1000]) as hosts:
        both = ranks(hosts, tmp_path, 30)
        await_busy(tmp_path)
        os.kill(both[1].pid, signal.SIGSTOP)
        time.sleep(1)
        began = time.monotonic()
        for link in (0, 1):
            hosts.set_silent(link, True)
        _, errors = both[0].communicate(timeout=30)
        assert both[0].returncode != 0
        assert "rank 1" in errors, errors
        assert time.monotonic() - began < 11
        both[1].kill()
        both[1].communicate()


def test_a_stopped_process_on_a_living_host_is_waited_for(tmp_path: Path) -> None:
    with TwoHosts([1000, 1000]) as hosts:
        both = ranks(hosts, tmp_path, 2)
        await_busy(tmp_path)
        os.kill(both[1].pid, signal.SIGSTOP)
        time.sleep(12)  # a host that is dead is given up after 8 s
        assert both[0].poll() is None  # its two seconds are over
        os.kill(both[1].pid, signal.SIGCONT)
        for process in both:
            _, errors = process.communicate(timeout=30)
            assert process.returncode == 0, errors


def test_a_link_that_was_down_at_the_start_is_used_as_soon_as_it_is_up(tmp_path: Path) -> None:
    with TwoHosts([1000, 1000]) as hosts:
        hosts.set_silent(1, True)
        both = ranks(hosts, tmp_path, 4)
        await_busy(tmp_path)
        before = hosts.sent(0)[1]
        hosts.set_silent(1, False)
        deadline = time.monotonic() + 2
        while hosts.sent(0)[1] < before + MEBI:
            assert time.monotonic() < deadline and both[0].poll() is None
            time.sleep(0.02)
        for process in both:
            _, errors = process.communicate(timeout=30)
            assert process.returncode == 0, errors
