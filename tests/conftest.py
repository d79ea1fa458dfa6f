# SPDX-License-Identifier: Apache-2.0
"""What all Python tests share: they test the installed package, and ranks are real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).resolve().parent / "python" / "programs"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a run folder of its own, and runs where no source tree shadows the package."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("FLEXLINK_RUN_DIR", str(folder))
    monkeypatch.setenv("FLEXLINK_PROFILE_CACHE", "off")  # tests shape links as they like
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def flexlink_run() -> Run:
    """flexlink_run(n, *command, options=(), env={}, timeout=60): the finished `flexlink run`."""

    def run(
        ranks: int,
        *command: str,
        options: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        launcher = [sys.executable, "-m", "flexlink", "run", "-n", str(ranks), *options, "--"]
        return subprocess.run(
            [*launcher, *command],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture
def run_program(flexlink_run: Run) -> Run:
    """run_program(n, "name.py", *arguments): runs tests/python/programs/name.py on n ranks.

    Fails with the ranks' output unless every rank ends with status 0.
    """

    def run(ranks: int, name: str, *arguments: str, **rest: object) -> object:
        done = flexlink_run(ranks, sys.executable, str(PROGRAMS / name), *arguments, **rest)
        assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run
