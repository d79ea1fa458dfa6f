# SPDX-License-Identifier: Apache-2.0
"""Other MPIs' launchers, from pip: each in a folder of its own below build/launchers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# The versions that perf/ compares with.
PACKAGES = {"mpich": "mpich==5.0.2", "impi": "impi-rt==2021.18.1"}
FOLDER = Path(__file__).resolve().parents[2] / "build" / "launchers"
FETCH_SECONDS = 90  # 110 MB; less than one test may take


def launcher(name: str, program: str) -> Path:
    """Path of `program` of this MPI, installed by the first who asks; skips when out of reach."""
    package = PACKAGES[name]
    place = FOLDER / package
    if not place.is_dir():
        _install(package, place)
    return place / "bin" / program


def _install(package: str, place: Path) -> None:
    draft = place.with_name(f"{place.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed"]
    try:
        done = subprocess.run(
            [*command, "--prefix", str(draft), package],
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{package} did not arrive within {FETCH_SECONDS} s")
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"{package} cannot be had from pip here: {reason}")
    draft.rename(place)
