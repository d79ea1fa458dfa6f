# SPDX-License-Identifier: Apache-2.0
"""A path that answers and yet loses every large packet becomes no link, at the start and later, and
says why; the others carry the data. As soon as it is mended it is used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from netns import TwoHosts
from support import PROGRAMS

from flexlink import probe
from flexlink.probe_model import Link

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "perf" / "links"))

from hosts import RANK  # noqa: E402

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None,
    reason="network namespaces need root and iproute2",
)
MEBI = 1 << 20
SECONDS = 4.0


def start(hosts: TwoHosts, folder: Path) -> list[subprocess.Popen[str]]:
    """Two ranks that AllReduce for some seconds, with logs in `folder`."""
    job = {"op": "all_reduce", "bytes": MEBI, "seconds": SECONDS, "folder": str(folder), "ranks": 2}
    return [
        subprocess.Popen(
            hosts.command(side, [sys.executable, str(RANK), json.dumps({**job, "rank": side})]),
            env={**os.environ, "NCCL_SOCKET_IFNAME": "fl", "NCCL_DEBUG": "INFO",
                 "NCCL_DEBUG_FILE": str(folder / f"log{side}")},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for side in (0, 1)
    ]  # fmt: skip


def links(ranks: Sequence[subprocess.Popen[str]]) -> list[list[Link]]:
    """Of both ranks, by rank, without those that nothing could be."""
    found: list[list[Link]] = [[], []]
    for process in probe.snapshot().processes:
        for comm in process.communicators:
            if process.pid in [rank.pid for rank in ranks] and comm.state != "closed":
                found[comm.rank] = [link for link in comm.links if link.name.startswith("tcp:fl")]
    return found


def await_links(
    ranks: Sequence[subprocess.Popen[str]], wanted: Callable[[Link], bool], seconds: float = 10
) -> list[Link]:
    """The links with number 1 of both ranks, as soon as both are as wanted."""
    deadline = time.monotonic() + seconds
    while True:
        second = [link for rank in links(ranks) for link in rank if link.name.startswith("tcp:fl1")]
        if len(second) == 2 and all(wanted(link) for link in second):
            return second
        assert time.monotonic() < deadline and ranks[0].poll() is None, second
        time.sleep(0.02)


def end(ranks: Sequence[subprocess.Popen[str]]) -> None:
    for process in ranks:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


@pytest.mark.parametrize("sides", [(0,), (1,), (0, 1)])
def test_a_path_that_loses_large_packets_is_not_used_until_it_is_mended(
    tmp_path: Path, sides: Sequence[int]
) -> None:
    with TwoHosts([1000, 1000]) as hosts:
        hosts.set_hole(1, sides)
        ranks = start(hosts, tmp_path)
        for link in await_links(ranks, lambda link: link.state == "never"):
            assert " test bytes came" in link.why, link
        hosts.set_rate(1, 1000)
        await_links(ranks, lambda link: link.state == "used" and link.bytes_out > MEBI)
        end(ranks)
    for side in (0, 1):
        log = (tmp_path / f"log{side}").read_text()
        first = [line for line in log.splitlines() if "path tcp:fl" in line]
        assert any(
            f"path tcp:fl1{'ab'[side]}" in line and "is not used: " in line for line in first
        )
        assert any(f"path tcp:fl0{'ab'[side]}" in line and " is used: " in line for line in first)


def test_a_path_that_begins_to_lose_large_packets_is_left_for_good(tmp_path: Path) -> None:
    """What answers the greeting alone would come back again and again, and stall each time."""
    with TwoHosts([1000, 1000]) as hosts:
        ranks = start(hosts, tmp_path)
        await_links(ranks, lambda link: link.state == "used" and link.bytes_out > MEBI)
        hosts.set_hole(1)
        await_links(ranks, lambda link: link.state == "left" and " test bytes came" in link.why)
        for _ in range(50):
            assert all(link.state == "left" for rank in links(ranks) for link in rank[1:])
            time.sleep(0.02)
        hosts.set_rate(1, 1000)
        await_links(ranks, lambda link: link.state == "used")
        end(ranks)


def test_a_peer_that_leaves_after_its_last_word_is_no_warning(tmp_path: Path) -> None:
    with TwoHosts([1000, 1000, 1000]) as hosts:
        for stay in (0.0, 0.05, 0.5):
            for turn in range(3):
                folder = tmp_path / f"{stay}-{turn}"
                folder.mkdir()
                ranks = [
                    subprocess.Popen(
                        hosts.command(side, [sys.executable, str(PROGRAMS / "leaving.py"),
                                             str(folder), str(side), str(stay)]),
                        env={**os.environ, "NCCL_SOCKET_IFNAME": "fl", "NCCL_DEBUG": "WARN",
                             "NCCL_DEBUG_FILE": str(folder / f"log{side}")},
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                    )
                    for side in (0, 1)
                ]  # fmt: skip
                end(ranks)
                for side in (0, 1):
                    log = folder / f"log{side}"
                    assert not log.exists() or " WARN " not in log.read_text(), log.read_text()
