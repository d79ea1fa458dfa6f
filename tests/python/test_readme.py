# SPDX-License-Identifier: Apache-2.0
"""What README.md shows runs as it is shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support import PROGRAMS, Run

README = (PROGRAMS.parents[2] / "README.md").read_text()
FLEXLINK = [sys.executable, "-m", "flexlink"]


def test_the_python_example_runs_on_four_ranks(flexlink_run: Run) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    check = (
        "\nassert (x == sum(range(comm.size))).all()\n"
        "assert everything.shape == (comm.size * 1000,)\n"
    )
    Path("example.py").write_text(example + check)
    done = flexlink_run(4, sys.executable, "example.py")
    assert done.returncode == 0, done.stderr


def test_the_commands_that_it_names_exist() -> None:
    named = set(re.findall(r"(?:`|\$\()flexlink (\w+)", README)) - {"watch"}
    assert {"run", "perf", "links", "lib", "settings"} <= named
    for name in named:
        done = subprocess.run(
            [*FLEXLINK, name, "--help"], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, (name, done.stderr)


def test_files_that_documents_link_to_are_there() -> None:
    root = PROGRAMS.parents[2]
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (root / name).read_text()):
            assert (root / target).exists(), (name, target)
