# SPDX-License-Identifier: Apache-2.0
"""`flexlink perf`: finds the compiled benchmark flexlink_perf and becomes it.

All options are the program's own (perf/src/options.cc); nothing is measured in Python.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent


def candidates() -> list[Path]:
    """Places of flexlink_perf, best first: FLPERF_PROGRAM, the installed package, build folders.

    The last only in a source checkout, newest first.
    """
    asked = os.environ.get("FLPERF_PROGRAM")
    if asked:
        return [Path(asked)]
    built = list((CHECKOUT / "build").glob("*/perf/flexlink_perf"))
    built.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [PACKAGE / "lib" / "flexlink_perf", *built]


def find_program() -> Path:
    """The benchmark program. FileNotFoundError names what was tried and what to do."""
    tried = candidates()
    for path in tried:
        if os.access(path, os.X_OK) and path.is_file():
            return path
    raise FileNotFoundError(
        f"flexlink_perf is not at {', '.join(map(str, tried))}. Install the package "
        "(pip install .) or build it: "
        "cmake -S native -B build/native -G Ninja && ninja -C build/native"
    )


def environment() -> dict[str, str]:
    """The program's environment: where the peers' adapters are, if this is a checkout."""
    result = dict(os.environ)
    adapters = CHECKOUT / "perf" / "peers"
    if (adapters / "prepare.py").exists():
        result.setdefault("FLPERF_PEERS", str(adapters))
    return result


def become(program: Path, argv: list[str]) -> NoReturn:
    """Replaces this process by the program."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(program, [str(program), *argv], environment())


def main(argv: list[str]) -> int:
    """Becomes the program; returns only when it cannot be found (status 2)."""
    try:
        program = find_program()
    except FileNotFoundError as error:
        print(f"flexlink perf: {error}", file=sys.stderr)
        return 2
    become(program, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
