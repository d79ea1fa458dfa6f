# SPDX-License-Identifier: Apache-2.0
"""Waiting for a late rank on another host: it costs next to nothing, and ends at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import PROGRAMS

LATE = 3.0  # seconds


@pytest.mark.parametrize("count", [2, 1_000_000])
def test_a_late_rank_is_waited_for_asleep_and_wakes_who_waits(tmp_path: Path, count: int) -> None:
    for attempt in range(3):  # other programs may take turns on the cores
        folder = tmp_path / str(attempt)
        folder.mkdir()
        ranks = [
            subprocess.Popen(
                [sys.executable, str(PROGRAMS / "late_peer.py"), str(folder), str(rank),
                 str(count), str(LATE)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for rank in (0, 1)
        ]  # fmt: skip
        said = []
        for process in ranks:
            out, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
            said.append([float(word) for word in out.split()])
        (came,), (cpu, ended) = said
        if cpu <= 0.01 * LATE and ended - came < 0.05:
            return
    raise AssertionError(f"{cpu} CPU s in {LATE} s; awake {ended - came} s after the late rank")
