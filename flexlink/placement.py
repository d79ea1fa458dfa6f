# SPDX-License-Identifier: Apache-2.0
"""Which core each rank is pinned to. Pure but for reading /sys; it pins nobody itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path


def core_of(cpu: int) -> str:
    """What hardware threads of one core share: the kernel's list of them, e.g. "0,4"."""
    try:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        return path.read_text().strip()
    except OSError:
        return str(cpu)


def allowed_cores() -> dict[int, str]:
    """The CPUs that this process may use, each with its core."""
    return {cpu: core_of(cpu) for cpu in sorted(os.sched_getaffinity(0))}


def place(ranks: int, cpus: Mapping[int, str]) -> Sequence[int] | None:
    """The CPU of each rank: first one of each core, then their siblings. None: too few CPUs."""
    if ranks > len(cpus):
        return None
    first: list[int] = []
    siblings: list[int] = []
    seen: set[str] = set()
    for cpu, core in cpus.items():
        (siblings if core in seen else first).append(cpu)
        seen.add(core)
    return (first + siblings)[:ranks]
