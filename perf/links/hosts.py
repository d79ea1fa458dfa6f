# SPDX-License-Identifier: Apache-2.0
"""Two ranks on two hosts (network namespaces with shaped links), for the measurements beside it."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "python"))

from netns import TwoHosts

RANK = Path(__file__).parent / "rank.py"


def run(
    hosts: TwoHosts | None,
    job: dict[str, Any],
    meanwhile: Callable[[Path], None] = lambda _: None,
    program: Path = RANK,
    python: str | None = None,
    **env: str,
) -> list[dict[str, Any]]:
    """What the two ranks of `job` print. `meanwhile` runs beside them and gets their folder."""
    with tempfile.TemporaryDirectory() as folder:
        ranks = []
        for rank in (0, 1):
            words = json.dumps({**job, "rank": rank, "ranks": 2, "folder": folder})
            command = [python or sys.executable, str(program), words]
            ranks.append(
                subprocess.Popen(
                    hosts.command(rank, command) if hosts else command,
                    env={**os.environ, "NCCL_SOCKET_IFNAME": "fl", **env},
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        meanwhile(Path(folder))
        said = [process.communicate(timeout=300)[0] for process in ranks]
        if any(process.returncode != 0 for process in ranks):
            sys.exit(f"a rank failed: {[process.returncode for process in ranks]}")
        lines = [text.splitlines() for text in said]
        for line in lines[0][:-1] + lines[1][:-1]:  # NCCL_DEBUG
            print(line, file=sys.stderr)
        return [json.loads(rank[-1]) for rank in lines]


def times(said: list[dict[str, Any]]) -> list[float]:
    """Seconds of each round: of its slower rank."""
    return [max(pair) for pair in zip(*(rank["times"] for rank in said), strict=True)]


def rate(hosts: TwoHosts | None, job: dict[str, Any], **env: str) -> tuple[float, float]:
    """busbw in GB/s of two ranks (the median round), and CPU seconds of both for each GB of it."""
    said = run(hosts, job, **env)
    share = 1.0 if job["op"] == "all_reduce" else 0.5
    took = statistics.median(times(said))
    moved = job["bytes"] * share * len(said[0]["times"]) / 1e9
    return job["bytes"] * share / took / 1e9, sum(rank["cpu"] for rank in said) / moved
