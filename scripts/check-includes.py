#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds native/src to the one way of includes, and pure folders to purity.

api → comm → lane → {schedule, link} → balance → engine → {device, probe} → drivers → base: a folder
includes its own files and those of folders below it. Folders in one pair of braces do not see each
other. balance is numbers in, numbers out: of what lies below it, it sees base alone.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "native" / "src"
LEVELS = {
    "api": 8, "comm": 7, "lane": 6, "schedule": 5, "link": 5, "balance": 4, "engine": 3,
    "device": 2, "probe": 2, "drivers": 1, "base": 0,
}  # fmt: skip
# Numbers in, numbers out: no socket, no clock, no thread, no vendor.
PURE = ("balance", "schedule")
ALL_OF_BALANCE = ("base/types.h", "base/status.h")
IMPURE_HEADERS = re.compile(
    r"<(sys/|netinet/|arpa/|net/|unistd|fcntl|poll|time|ctime|chrono|thread|mutex|dlfcn|cuda|infiniband|csignal|signal)"
    r'|"base/(clock|fd|reactor|socket|interfaces)'
)
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"][^>"]+[>"])', re.MULTILINE)


def problems(folder: str, name: str, include: str) -> list[str]:
    """What is wrong with one include line of file `name`, which lies in `folder`."""
    found = []
    if folder in PURE and IMPURE_HEADERS.match(include):
        found.append(f"{name}: {include}: {folder} is pure and may not include this")
    target = include.strip('<>"').split("/")[0]
    if include[0] == '"' and target in LEVELS and target != folder:
        if LEVELS[target] >= LEVELS[folder]:
            found.append(f"{name}: {include}: {folder} may not include {target}")
        elif folder == "balance" and include.strip('"') not in ALL_OF_BALANCE:
            found.append(f"{name}: {include}: balance includes {' and '.join(ALL_OF_BALANCE)} only")
    elif include[0] == '"' and "/" not in include:
        found.append(f"{name}: {include}: write the path from native/src, e.g. base/status.h")
    return found


def main() -> int:
    """Prints every problem; 1 if there is one."""
    found = []
    files = [path for path in sorted(SOURCE.rglob("*")) if path.suffix in (".h", ".cc", ".cu")]
    for path in files:
        folder = path.relative_to(SOURCE).parts[0]
        for include in INCLUDE.findall(path.read_text()):
            found += problems(folder, str(path.relative_to(ROOT)), include)
    print("\n".join(found) if found else f"includes: {len(files)} files go one way")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
