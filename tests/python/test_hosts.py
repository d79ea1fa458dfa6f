# SPDX-License-Identifier: Apache-2.0
"""Ranks on different hosts: over one NIC of this machine, and between two network namespaces with
several shaped links, where the interfaces' own byte counters are the witnesses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from netns import TwoHosts
from support import PROGRAMS, make_thread_gpus

from flexlink.perf import find_program

MEBI = 1 << 20
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None,
    reason="network namespaces need root and iproute2",
)


def start(prefixes: Sequence[Sequence[str]], folder: Path, count: int, rounds: int, **more: str):
    """One process for each prefix of a command line."""
    return [
        subprocess.Popen(
            [*prefix, sys.executable, str(PROGRAMS / "two_hosts.py"), str(folder), str(rank),
             str(len(prefixes)), str(count), str(rounds)],
            env={**os.environ, **more}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank, prefix in enumerate(prefixes)
    ]  # fmt: skip


def finish(ranks: Sequence[subprocess.Popen[str]]) -> tuple[float, float]:
    """All must end well; (best, longest) seconds of the slowest rank's AllReduce."""
    seen = []
    for process in ranks:
        out, err = process.communicate(timeout=90)
        assert process.returncode == 0, err
        seen.append([float(word) for word in out.split()[1:]])
    return max(best for best, _ in seen), max(longest for _, longest in seen)


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_collective_is_exact_between_hosts(tmp_path: Path, ranks: int) -> None:
    finish(start([[] for _ in range(ranks)], tmp_path, 3_000_001, 3))


def test_what_was_seen_of_links_is_kept_and_rubbish_in_its_place_is_only_a_warning(
    tmp_path: Path,
) -> None:
    cache = tmp_path / "cache" / "flexlink"
    setting = {"FLEXLINK_PROFILE_CACHE": str(cache), "NCCL_DEBUG": "WARN"}
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        ranks = start([[], []], folder, 4 * MEBI, 4, **setting, NCCL_DEBUG_FILE=f"{folder}/log")
        finish(ranks)
        (kept,) = cache.iterdir()
        assert "\nlink tcp:" in kept.read_text()
        warned = "its checksum is wrong" in (folder / "log").read_text()
        assert warned == (attempt == 2)
        if attempt == 1:
            kept.write_text(kept.read_text().replace("link tcp:", "link TCP:"))


@needs_root
def test_containers_of_one_machine_that_share_no_memory_meet_over_tcp(tmp_path: Path) -> None:
    """One host by name (as by boot id in containers), but no way to each other's sockets."""
    with TwoHosts([0]) as hosts:
        commands = [hosts.command(side, []) for side in (0, 1, 1)]
        more = {"NCCL_SOCKET_IFNAME": "fl", "FLEXLINK_HOSTID": "machine", "NCCL_DEBUG": "INFO"}
        finish(start(commands, tmp_path, 300_001, 3, **more, NCCL_DEBUG_FILE=f"{tmp_path}/log"))
        assert hosts.sent(0)[0] > 3 * 1_200_004
    log = (tmp_path / "log").read_text()
    assert "no shared memory with rank 1" in log
    assert "lane hier" in log  # the two of the second container share theirs


@needs_root
def test_their_gpus_meet_over_tcp_too(tmp_path: Path) -> None:
    """By images in the machine's memory; the GPUs are threads, and perf checks every element."""
    gpus = make_thread_gpus(tmp_path)
    command = [str(find_program()), "all_reduce", "--device", "cuda", "-b", "8", "-e", "4M",
               "-f", "512", "-n", "2", "--id-file", str(tmp_path / "id")]  # fmt: skip
    more = {"NCCL_SOCKET_IFNAME": "fl", "FLEXLINK_HOSTID": "machine", "NCCL_DEBUG": "INFO",
            "NCCL_DEBUG_FILE": f"{tmp_path}/log", "WORLD_SIZE": "3"}  # fmt: skip
    with TwoHosts([0]) as hosts:
        ranks = [
            subprocess.Popen(
                hosts.command(side, command),
                env={**os.environ, **gpus, **more, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for rank, side in enumerate((0, 1, 1))
        ]  # fmt: skip
        said = [process.communicate(timeout=90)[0] for process in ranks]
        assert [process.returncode for process in ranks] == [0, 0, 0], said
    assert "# Out of bounds values : 0 OK" in said[0]
    log = (tmp_path / "log").read_text()
    assert "no shared memory with rank 1" in log
    assert "lane hier (on images in the host's memory)" in log


def carry(rates: Sequence[int], folder: Path, size: int) -> tuple[list[int], float]:
    """Bytes that each NIC of the first host has sent in 6 AllReduces, and the fastest's bytes/s."""
    folder.mkdir()
    with TwoHosts(rates) as hosts:
        before = hosts.sent(0)
        commands = [hosts.command(side, []) for side in (0, 1)]
        best, _ = finish(start(commands, folder, size // 4, 6, NCCL_SOCKET_IFNAME="fl"))
        return [now - then for now, then in zip(hosts.sent(0), before, strict=True)], size / best


@needs_root
def test_all_links_carry_one_collective_faster_than_the_best_alone_could(tmp_path: Path) -> None:
    rates = [1000, 500, 250]
    size = 32 * MEBI
    fastest = 0.0
    for attempt in range(3):  # other programs may take turns on the cores
        sent, rate = carry(rates, tmp_path / str(attempt), size)
        assert sum(sent) >= 6 * size  # each rank sends its input's half and its result's half
        assert min(sent) > 0.05 * sum(sent), sent
        fastest = max(fastest, rate)
        if fastest > 0.9 * sum(rates) * 1e6 / 8:
            break
    assert fastest > 1.3 * max(rates) * 1e6 / 8


@needs_root
def test_a_link_that_goes_down_stalls_for_less_than_a_second_and_loses_nothing(
    tmp_path: Path,
) -> None:
    with TwoHosts([1000, 1000]) as hosts:
        commands = [hosts.command(side, []) for side in (0, 1)]
        ranks = start(commands, tmp_path, 8 * MEBI // 4, 60, NCCL_SOCKET_IFNAME="fl")
        deadline = time.monotonic() + 30
        while not (tmp_path / "busy0").exists():
            assert time.monotonic() < deadline and all(rank.poll() is None for rank in ranks)
            time.sleep(0.01)
        hosts.set_link(1, "down")
        best, longest = finish(ranks)
    assert longest < 1.5, (best, longest)
