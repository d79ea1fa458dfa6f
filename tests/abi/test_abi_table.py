# SPDX-License-Identifier: Apache-2.0
"""native/src/api/README.md says of each function what it does on host memory and on CUDA.

The table is held to the code: a row that says "works" answers a fair call with success, a row that
says "refuses" returns an error that says why.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from abi_header import REPOSITORY, listed_names

README = REPOSITORY / "native" / "src" / "api" / "README.md"
PROBE = Path(__file__).with_name("works_probe.py")
SECONDS = 60
INVALID_USAGE = 5


@dataclass(frozen=True)
class Row:
    """One line of the table: works, forwards or refuses."""

    host: str
    cuda: str


@functools.cache
def table() -> dict[str, Row]:
    rows = re.findall(r"^\| `(nccl\w+)` \| (\w+) \| (\w+) \|", README.read_text(), re.MULTILINE)
    return {name: Row(host, cuda) for name, host, cuda in rows}


def _fair_call(library: Path, name: str, **environment: str) -> tuple[int, str]:
    """(result code, text of the error) of one fair call, or of the step before it that failed."""
    done = subprocess.run(
        [sys.executable, str(PROBE), str(library), name],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"FLEXLINK_DEVICE": "host", "NCCL_DEBUG": ""} | environment,
    )
    prepared = re.search(r"RuntimeError: (\d+): b['\"](.*)['\"]", done.stderr)
    if prepared is not None:
        return int(prepared[1]), prepared[2]
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["code"], answer["text"]


def test_table_has_one_row_for_each_function_in_three_words() -> None:
    assert sorted(table()) == list(listed_names())
    words = {row.host for row in table().values()} | {row.cuda for row in table().values()}
    assert words <= {"works", "forwards", "refuses"}


@pytest.mark.parametrize("name", listed_names())
def test_host_column_is_true(library: Path, name: str) -> None:
    code, text = _fair_call(library, name)
    if table()[name].host == "works":
        assert (code, text) == (0, "")
    else:
        assert table()[name].host == "refuses"
        assert code == INVALID_USAGE or name.startswith("ncclTeam")
        assert name in text


@pytest.mark.parametrize("name", listed_names())
def test_cuda_column_is_true(library: Path, second_copy: Path, name: str) -> None:
    # What stands in for the vendor gives what it gives on host memory.
    assert table()[name].cuda == "forwards"
    code, text = _fair_call(
        library, name, FLEXLINK_PASS_THROUGH="1", FLEXLINK_NCCL_PATH=str(second_copy)
    )
    if table()[name].host == "works":
        assert (code, text) == (0, "")
    else:
        assert code == INVALID_USAGE or name.startswith("ncclTeam")
        assert name in text
