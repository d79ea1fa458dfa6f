# SPDX-License-Identifier: Apache-2.0
"""The links of a real job between two network namespaces: which are taken, what is shown."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from netns import TwoHosts, ip

from flexlink import probe
from flexlink._native import library_path
from flexlink.perf import find_program
from flexlink.probe_model import Communicator

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None,
        reason="network namespaces need root and iproute2",
    ),
]


@contextmanager
def job(
    hosts: TwoHosts, folder: Path, *words: str, **more: str
) -> Iterator[list[subprocess.Popen[str]]]:
    """flexlink_perf all_reduce with one rank on each host; killed at the end."""
    ranks = []
    for side in (0, 1):
        command = [find_program(), "all_reduce", "--links", "--no-pin", *words]
        env = {
            **os.environ, "FLEXLINK_LIBRARY": str(library_path()), "WORLD_SIZE": "2",
            "RANK": str(side), "LOCAL_RANK": "0", "FLEXLINK_HOSTID": f"node{side}", **more,
        }  # fmt: skip
        words_of_side = [*map(str, command), "--id-file", str(folder / "id")]
        ranks.append(
            subprocess.Popen(
                hosts.command(side, words_of_side),
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        yield ranks
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait(timeout=10)


def finished(ranks: list[subprocess.Popen[str]]) -> str:
    """What rank 0 printed; both must end well."""
    outputs = [rank.communicate(timeout=90) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    return outputs[0][0]


def links_of(folder: Path, hosts: TwoHosts, *words: str, **more: str) -> list[dict[str, Any]]:
    """The links of rank 0 in the JSON of one short run."""
    report = folder / "out.json"
    with job(hosts, folder, "-b", "1M", "-e", "4M", "-f", "4", "-J", str(report), *words,
             **more) as ranks:  # fmt: skip
        finished(ranks)
    links: list[dict[str, Any]] = json.loads(report.read_text())["links"]
    return links


def test_every_nic_is_used_or_says_why_not(tmp_path: Path) -> None:
    with TwoHosts([1000, 500]) as hosts:
        first = hosts.names[0]
        ip("-n", first, "link", "add", "docker0", "type", "bridge")
        ip("-n", first, "addr", "add", "172.17.0.1/16", "dev", "docker0")
        ip("-n", first, "link", "add", "far0", "type", "veth", "peer", "name", "far1")
        ip("-n", first, "addr", "add", "10.99.0.1/24", "dev", "far0")
        for nic in ("docker0", "far0", "far1"):
            ip("-n", first, "link", "set", nic, "up")
        links = {link["name"]: link for link in links_of(tmp_path, hosts)}
    assert {name for name, link in links.items() if link["state"] == "used"} == {
        "tcp:fl0a",
        "tcp:fl1a",
    }
    assert {name: link["why"] for name, link in links.items() if link["state"] == "never"} == {
        "tcp:lo": "loopback: never leaves this machine",
        "tcp:docker0": "a bridge: its ports or containers share it",
        "tcp:far0": "10.99.0.0/24 here, 10.77.0.0/24 there: not the same subnet",
        **({"tcp:far1": "only a link-local address"} if "tcp:far1" in links else {}),
    }
    used = [links["tcp:fl0a"], links["tcp:fl1a"]]
    assert sum(link["share"] for link in used) == pytest.approx(1, abs=1e-5)
    assert all(link["sent_bytes"] > 0 and link["peer"] == 1 for link in used)


def test_links_that_are_named_are_the_only_ones(tmp_path: Path) -> None:
    with TwoHosts([1000, 500]) as hosts:
        links = links_of(tmp_path, hosts, FLEXLINK_LINKS="tcp:fl1a,tcp:fl1b")
    used = [link["name"] for link in links if link["state"] == "used"]
    assert used == ["tcp:fl1a"]
    (left_out,) = (link for link in links if link["name"] == "tcp:fl0a")
    assert left_out["why"] == "FLEXLINK_LINKS leaves it out; ranks meet over it"


def test_links_that_this_host_does_not_have_are_an_error(tmp_path: Path) -> None:
    with (
        TwoHosts([1000]) as hosts,
        job(hosts, tmp_path, "-b", "8", "-e", "8", FLEXLINK_LINKS="tcp:eth7") as ranks,
    ):
        outputs = [rank.communicate(timeout=60) for rank in ranks]
        assert [rank.returncode for rank in ranks] == [1, 1]
    assert "FLEXLINK_LINKS names no interface that can be used here; there are: lo" in outputs[0][1]


def test_where_each_flow_is_limited_several_connections_carry_more(tmp_path: Path) -> None:
    took = {}
    with TwoHosts([0]) as hosts:
        hosts.limit_flows(0, 200)
        for many in (1, 4):
            folder = tmp_path / str(many)
            folder.mkdir()
            report = folder / "out.json"
            with job(hosts, folder, "-b", "4M", "-e", "4M", "-n", "5", "-J", str(report),
                     FLEXLINK_SOCKETS=str(many), FLEXLINK_PORT_RANGE="20000-20015",
                     FLEXLINK_PROFILE_CACHE="off") as ranks:  # fmt: skip
                finished(ranks)
            said = json.loads(report.read_text())
            used = [link for link in said["links"] if link["state"] == "used"]
            assert [link["name"] for link in used] == ["tcp:fl0a"] * many
            assert all(link["share"] > 0.5 / many for link in used)
            took[many] = said["results"][0]["in_place"]["time"]
    assert took[4] < took[1] / 2, took


def communicator_of(rank: int) -> Communicator | None:
    for process in probe.snapshot().processes:
        for comm in process.communicators:
            if comm.rank == rank and process.life == "alive":
                return comm
    return None


def test_link_that_goes_down_is_seen_to_be_left(tmp_path: Path) -> None:
    with (
        TwoHosts([1000, 1000]) as hosts,
        job(hosts, tmp_path, "-b", "8M", "-e", "8M", "-N", "0") as ranks,
    ):
        deadline = time.monotonic() + 60
        down = False
        while True:
            assert time.monotonic() < deadline and all(rank.poll() is None for rank in ranks)
            comm = communicator_of(0)
            states = {link.name: link.state for link in comm.links} if comm else {}
            if not down and states.get("tcp:fl0a") == states.get("tcp:fl1a") == "used":
                hosts.set_link(1, "down")
                down = True
            if down and states.get("tcp:fl1a") == "left":
                break
            time.sleep(0.02)
        assert states["tcp:fl0a"] == "used"
        shown = subprocess.run(
            [sys.executable, "-m", "flexlink", "links"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        assert any("tcp:fl1a" in line and " left " in line for line in shown.stdout.splitlines())
