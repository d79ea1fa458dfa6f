# SPDX-License-Identifier: Apache-2.0
"""perf/collect.py: the rule by which a table says that an aim is met."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(30)

COLLECT = Path(__file__).resolve().parents[2] / "perf" / "collect.py"
HEADER = (
    "peer,collective,ranks,size,count,type,redop,root,inplace,rounds,iters,ours_us,ours_min_us,"
    "ours_max_us,theirs_us,theirs_min_us,theirs_max_us,ours_busbw,theirs_busbw,bound_busbw,"
    "ours_wrong,theirs_wrong,ratio,malloc,buffers"
)


def row(peer: str, size: int, ours: float, theirs: float, bound: float, ratio: float) -> str:
    head = f"{peer},all_reduce,2,{size},{size // 4},float,sum,-1,1,21,5"
    times = f"{ours},{ours},{ours},{theirs},{theirs},{theirs}"
    return f"{head},{times},{ours},{theirs},{bound},0,0,{ratio},default,malloc"


def table(tmp_path: Path, *rows: str) -> list[list[str]]:
    target = tmp_path / "rows.csv"
    target.write_text("\n".join([HEADER, *rows]) + "\n")
    done = subprocess.run(
        [sys.executable, str(COLLECT), "table", str(target)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("| all_reduce")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_aim_needs_every_peer_beaten_by_three_tenths_or_nine_tenths_of_the_bound(
    tmp_path: Path,
) -> None:
    lines = table(
        tmp_path,
        row("mpich", 65536, 10, 5, 20, 2.0),
        row("ompi", 65536, 10, 8, 20, 1.25),
        row("mpich", 1048576, 10, 5, 20, 1.31),
        row("ompi", 1048576, 10, 5, 20, 2.0),
        row("mpich", 4194304, 19, 18, 20, 1.06),
    )
    assert [(line[1], line[-1]) for line in lines] == [
        ("65536", "no"),
        ("1048576", "yes"),
        ("4194304", "yes"),
    ]
    assert lines[0][3:6] == ["5.00 (2.00 ×)", "8.00 (1.25 ×)", "1.25"]


def test_small_messages_show_microseconds_and_a_missing_peer_a_dash(tmp_path: Path) -> None:
    lines = table(tmp_path, row("mpich", 8, 0.5, 0.25, 9, 0.5), row("ompi", 65536, 1, 1, 1, 1.0))
    assert lines[0][2:5] == ["0.50 µs", "0.25 µs (0.50 ×)", "–"]
