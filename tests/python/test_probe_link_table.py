# SPDX-License-Identifier: Apache-2.0
"""Links in a probe file: what the reader reads, `flexlink links` shows, rates and shares."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from probe_files import START_NS, TICKS_AT, FakeFile

from flexlink import links, probe
from flexlink.link_table import LinkRate, link_rates
from flexlink.probe_layout import HEADER, LINKS
from flexlink.probe_model import Link

NODE = b"node8"
GIBI = 1 << 30


def two_links(out: tuple[int, int] = (3 * GIBI, GIBI), **process: int) -> FakeFile:
    """Rank 0 of 2 with two links to rank 1; process: fields of the header."""
    file = FakeFile()
    file.set(HEADER, 0, **process)
    file.comm(0, b"world", id=0xBEEF, rankAndRanks=0 | 2 << 32, hostAndHosts=2 << 32)
    same = {"peer": 1 | 1 << 32, "sinceTicks": TICKS_AT, "writtenTicks": TICKS_AT + 500}
    # Not in the order of their index: places are taken as they come.
    file.link(
        7, (b"tcp:eth1", NODE, b""), index=1, bytesOut=out[1], bytesIn=0,
        bytesPerSecond=31_250_000, latencyNanos=2_000_000, **same,
    )  # fmt: skip
    file.link(
        2, (b"tcp:eth0", NODE, b"directly connected by 10.0.0.0/24"), index=0, bytesOut=out[0],
        bytesIn=5, replays=4, bytesPerSecond=125_000_000, latencyNanos=45_000, **same,
    )  # fmt: skip
    return file


def read(file: FakeFile, folder: Path) -> probe.Process:
    with probe.ProbeReader(file.write(folder)) as reader:
        return reader.read()


def run(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    assert links.main(["--folder", str(folder), *options]) == 0
    return capsys.readouterr().out.splitlines()


def test_links_are_read_in_the_order_of_their_index(tmp_path: Path) -> None:
    process = read(two_links(startTime=1, goneUnixNs=9), tmp_path)
    (comm,) = process.communicators
    assert comm.links == (
        Link(
            0, "tcp:eth0", 1, 1, "node8", "used", "directly connected by 10.0.0.0/24", 3 * GIBI, 5,
            4, 125_000_000, 45_000, None, None,
        ),
        Link(1, "tcp:eth1", 1, 1, "node8", "used", "", GIBI, 0, 0, 31_250_000, 2_000_000, None,
             None),
    )  # fmt: skip
    assert process.unrecorded_links == 0


def test_times_of_a_link_are_told_of_a_living_process(tmp_path: Path) -> None:
    (comm,) = read(two_links(), tmp_path).communicators
    since, age = comm.links[0].since_ns, comm.links[0].age_ns
    assert since is not None and age is not None
    assert since - age == 1000  # 500 ticks of 2 ns


def test_link_of_another_slot_or_of_an_earlier_generation_is_not_shown(tmp_path: Path) -> None:
    file = two_links()
    file.link(3, (b"tcp:old", NODE, b""), owner=0 | 2 << 32)
    file.link(4, (b"tcp:other", NODE, b""), owner=1 | 1 << 32)
    file.link(LINKS - 1, (b"tcp:last", NODE, b""), index=2)
    (comm,) = read(file, tmp_path).communicators
    assert [link.name for link in comm.links] == ["tcp:eth0", "tcp:eth1", "tcp:last"]


def test_link_that_is_always_being_written_is_shown_of_a_dead_process_only(tmp_path: Path) -> None:
    file = two_links()
    file.link(2, (b"tcp:eth0", NODE, b""), version=5)
    assert [link.name for link in read(file, tmp_path).communicators[0].links] == ["tcp:eth1"]
    file.set(HEADER, 0, startTime=1)
    assert len(read(file, tmp_path).communicators[0].links) == 2


def test_table_has_a_row_for_each_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = two_links()
    file.link(
        9, (b"tcp:docker0", b"", b"a bridge: its ports or containers share it"), index=2, state=1,
        peer=0xFFFFFFFF,
    )  # fmt: skip
    file.write(tmp_path)
    lines = run(tmp_path, capsys)
    assert [" ".join(line.split()) for line in lines[3:7]] == [
        "rank link to state out in share replays rate latency",
        "0 tcp:eth0 rank 1 (node8) used 3 GiB 5 B 75% 4 119 MiB/s 45 us "
        "directly connected by 10.0.0.0/24",
        "0 tcp:eth1 rank 1 (node8) used 1 GiB 0 B 25% 0 29.8 MiB/s 2 ms",
        "0 tcp:docker0 - never a bridge: its ports or containers share it",
    ]
    assert lines[7] == "  not seen on this machine: rank 1"


def test_link_that_was_left_says_since_when_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ago = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - 150 * 10**9
    file = two_links()
    file.link(
        2, (b"tcp:eth0", NODE, b"silent for 412 ms"), state=3, peer=1,
        sinceTicks=(ago - START_NS) // 2 + TICKS_AT,
    )  # fmt: skip
    file.write(tmp_path)
    row = run(tmp_path, capsys)[4]
    assert " left " in row and row.endswith("  2m ago: silent for 412 ms")
    file.set(HEADER, 0, startTime=1)
    file.write(tmp_path)
    assert run(tmp_path, capsys, "--all")[4].endswith("  silent for 412 ms")


def test_communicator_without_links_has_no_table_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = FakeFile()
    file.comm(0, rankAndRanks=1 << 32)
    file.write(tmp_path)
    assert not any("replays" in line for line in run(tmp_path, capsys))


def test_shares_are_by_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = two_links(out=(0, 0))
    file.link(20, (b"tcp:eth0", NODE, b""), index=2, peer=2, bytesOut=1)
    file.link(21, (b"tcp:eth1", NODE, b""), index=3, peer=2, bytesOut=3)
    file.write(tmp_path)
    told = json.loads(run(tmp_path, capsys, "--json")[0])
    found = told["processes"][0]["communicators"][0]["links"]
    assert [link["share"] for link in found] == [None, None, 0.25, 0.75]
    assert [link["rate"] for link in found] == [None] * 4


def test_rates_and_shares_of_watch_are_those_between_two_readings(tmp_path: Path) -> None:
    path = two_links(out=(3000, 1000)).write(tmp_path)
    before = probe.snapshot([str(tmp_path)])
    path.write_bytes(two_links(out=(3100, 1900)).data)
    after = probe.snapshot([str(tmp_path)])
    seconds = (after.processes[0].read_ns - before.processes[0].read_ns) / 1e9
    flow = link_rates(before, after)
    assert flow == {
        (str(path), 0, 1, 0): LinkRate(100 / seconds, 0),
        (str(path), 0, 1, 1): LinkRate(900 / seconds, 0),
    }
    shown = links.as_json(after, {}, flow)["processes"][0]["communicators"][0]["links"]
    assert [link["share"] for link in shown] == pytest.approx([0.1, 0.9], abs=1e-12)
    assert link_rates(None, after) == {}


def test_link_that_started_anew_has_no_rate(tmp_path: Path) -> None:
    path = two_links(out=(3000, 1000)).write(tmp_path)
    before = probe.snapshot([str(tmp_path)])
    path.write_bytes(two_links(out=(10, 1000)).data)
    after = probe.snapshot([str(tmp_path)])
    assert list(link_rates(before, after)) == [(str(path), 0, 1, 1)]


def test_watch_shows_the_flow_of_each_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_links().write(tmp_path)
    lines = run(tmp_path, capsys, "--watch", "0.01", "--count", "2")
    rows = [line.split() for line in lines if "tcp:eth0" in line]
    assert "0 B/s" not in " ".join(rows[0]) and " ".join(rows[1]).count("0 B/s") == 2


def test_links_without_a_place_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_links(unrecordedLinks=3).write(tmp_path)
    assert "3 more links, for which its probe had no room" in run(tmp_path, capsys)[-1]
