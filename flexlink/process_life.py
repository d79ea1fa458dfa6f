# SPDX-License-Identifier: Apache-2.0
"""What names a process for good: boot, pid namespace, pid and start time. Reads /proc only."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def boot_id() -> bytes:
    """16 bytes that this boot of the kernel alone has; zeros where the kernel does not say."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return bytes.fromhex(text.replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)


@functools.cache
def pid_namespace() -> int:
    """The inode of our pid namespace; 0 where the kernel does not say."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def start_time(pid: int) -> int:
    """When `pid` started, in clock ticks after boot; 0: there is no such process, or it has ended.

    Pids come back, the pair of pid and start time does not.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return 0
