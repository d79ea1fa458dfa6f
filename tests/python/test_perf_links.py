# SPDX-License-Identifier: Apache-2.0
"""flexlink_perf --links: its own reader of probe files, its table, and runs without links."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from probe_files import FakeFile

from flexlink import probe_layout
from flexlink._native import library_path
from flexlink.perf import find_program
from flexlink.probe_layout import COMM, HEADER, HEADER_BYTES, LINK, LINKS_OFFSET

pytestmark = pytest.mark.timeout(60)

HEAD = [
    "#",
    "# Links: sent in this run; GB/s and latency as the library has fitted them",
    "# rank link to state sent share replays GB/s latency",
    "# (MB) (%) (us)",
]


def inspect(*paths: Path) -> tuple[int, list[str], str]:
    """Exit status, lines with single blanks, stderr."""
    done = subprocess.run(
        [find_program(), "inspect", "links", *map(str, paths)],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    return done.returncode, lines, done.stderr


def job(sent: tuple[int, int], replays: int = 0) -> FakeFile:
    """Rank 3 with two links to rank 1, and a NIC that is out."""
    file = FakeFile()
    file.comm(0, b"world", rankAndRanks=3 | 4 << 32)
    fitted = {"bytesPerSecond": 125_000_000, "latencyNanos": 45_500}
    same = {"peer": 1, **fitted}
    file.link(5, (b"tcp:eth1", b"node8", b""), index=1, bytesOut=sent[1], **same)
    file.link(
        6, (b"tcp:eth0", b"node8", b"x\x1b"), index=0, bytesOut=sent[0], replays=replays, **same
    )
    file.link(1023, (b"tcp:docker0", b"", b"a bridge"), index=2, state=1, peer=0xFFFFFFFF)
    return file


def test_links_stand_in_the_order_of_their_index_with_shares(tmp_path: Path) -> None:
    path = job((3_000_000, 1_000_000)).write(tmp_path)
    assert inspect(path) == (
        0,
        [
            *HEAD,
            "# 3 tcp:eth0 1 (node8) used 3.00 75.00 0 0.12 45.50 x?",
            "# 3 tcp:eth1 1 (node8) used 1.00 25.00 0 0.12 45.50",
            "# 3 tcp:docker0 - never - - - - - a bridge",
        ],
        "",
    )


def test_between_two_readings_only_what_was_added_counts(tmp_path: Path) -> None:
    before = job((3_000_000, 1_000_000), replays=2).write(tmp_path, "before")
    after = job((3_000_000, 11_000_000), replays=5).write(tmp_path, "after")
    assert inspect(before, after)[1][4:6] == [
        "# 3 tcp:eth0 1 (node8) used 0.00 0.00 3 0.12 45.50 x?",
        "# 3 tcp:eth1 1 (node8) used 10.00 100.00 0 0.12 45.50",
    ]


def test_without_links_nothing_is_printed(tmp_path: Path) -> None:
    file = FakeFile()
    file.comm(0, rankAndRanks=2 << 32)
    assert inspect(file.write(tmp_path)) == (0, [], "")


def test_links_of_closed_and_of_other_communicators_are_left_out(tmp_path: Path) -> None:
    closed = job((1, 1))
    closed.set(COMM, HEADER_BYTES, state=6)
    assert inspect(closed.write(tmp_path, "closed"))[1] == []
    reopened = job((1, 1))
    reopened.set(COMM, HEADER_BYTES, generation=2)
    assert inspect(reopened.write(tmp_path, "reopened"))[1] == []
    for owner in (64 | 1 << 32, 0xFFFFFFFF_FFFFFFFF):
        wild = FakeFile()
        wild.comm(0, rankAndRanks=2 << 32)
        wild.link(0, (b"tcp:eth0", b"", b""), owner=owner)
        assert inspect(wild.write(tmp_path, "wild")) == (0, [], "")


def test_link_that_is_always_being_written_is_left_out(tmp_path: Path) -> None:
    file = job((1, 1))
    file.set(LINK, LINKS_OFFSET + 6 * LINK.size, version=7)
    assert [line.split()[2] for line in inspect(file.write(tmp_path))[1][4:]] == [
        "tcp:eth1",
        "tcp:docker0",
    ]


def test_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    old = job((1, 1))
    old.set(HEADER, 0, layout=1)
    strange = job((1, 1))
    strange.set(HEADER, 0, magic=5)
    cut = job((1, 1))
    del cut.data[-1:]
    short = job((1, 1))
    del short.data[100:]
    for file, why in (
        (old, f"it has layout 1, this program reads {probe_layout.LAYOUT}"),
        (strange, "it is no probe file"),
        (cut, "it is cut off"),
        (short, "it is cut off"),
    ):
        path = file.write(tmp_path)
        assert inspect(path) == (1, [], f"{path}: {why}\n")
    missing = tmp_path / "missing"
    assert inspect(missing) == (1, [], f"{missing}: No such file or directory\n")


def perf(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [find_program(), "all_reduce", "--ranks", "2", "-b", "1K", "-e", "1K", *words]
    env = {**os.environ, "FLEXLINK_LIBRARY": str(library_path()), **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=50, env=env)


def test_ranks_of_one_host_have_no_links_to_print(tmp_path: Path) -> None:
    done = perf("--links", "-J", str(tmp_path / "out.json"))
    assert done.returncode == 0, done.stderr
    assert "Links" not in done.stdout
    assert json.loads((tmp_path / "out.json").read_text())["links"] == []


def test_library_without_a_probe_is_said_to_have_none() -> None:
    done = perf("--links", FLEXLINK_PROBE="0")
    assert done.returncode == 0, done.stderr
    assert "# Links: the library writes no probe here; is FLEXLINK_PROBE=0 set?\n" in done.stdout


def test_links_are_not_for_comparisons() -> None:
    done = perf("--links", "--vs", "mpich")
    assert done.returncode == 2
    assert "--vs compares sides on one host, which have no links" in done.stderr
