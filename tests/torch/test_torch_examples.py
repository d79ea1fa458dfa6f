# SPDX-License-Identifier: Apache-2.0
"""The examples run as their first lines say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from torch_ranks import HERE, run_command
from torch_support import BACKEND, IS_FLEXLINK

EXAMPLES = HERE.parent.parent / "examples"


def run(command: list[str]) -> str:
    """What a command prints; it must end well."""
    done = run_command(command, 110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["ddp.py", "fsdp2.py"])
def test_one_command_compares_both_backends(name: str) -> None:
    one = [] if IS_FLEXLINK else ["--backend", BACKEND]
    said = run([sys.executable, str(EXAMPLES / name), "--rounds", "1", "--steps", "1", *one])
    names = re.findall(r"^(\w+) +\d+\.\d\d ms per step, 2 ranks$", said, re.M)
    assert names == (["gloo", "flexlink"] if IS_FLEXLINK else [BACKEND])
    assert ("times as fast as gloo" in said) == IS_FLEXLINK


def test_under_torchrun_with_one_backend() -> None:
    torchrun = [str(Path(sys.executable).parent / "torchrun"), "--standalone"]
    words = ["--rounds", "1", "--steps", "1", "--compute-bound", "--backend", BACKEND]
    said = run([*torchrun, "--nproc-per-node", "2", str(EXAMPLES / "ddp.py"), *words])
    assert re.findall(r"^(\w+) +\d+\.\d\d ms per step, 2 ranks$", said, re.M) == [BACKEND]
