# SPDX-License-Identifier: Apache-2.0
"""Error strings to the letter, and the text of the last error: whose it is, how long it stays."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from pathlib import Path

import pytest

STRINGS = {
    0: "no error",
    1: "unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
    2: "unhandled system error (run with NCCL_DEBUG=INFO for details)",
    3: "internal error - please report this issue to the NCCL developers",
    4: "invalid argument (run with NCCL_DEBUG=WARN for details)",
    5: "invalid usage (run with NCCL_DEBUG=WARN for details)",
    6: "remote process exited or there was a network error",
    7: "NCCL operation in progress",
    8: "timeout",
}
INVALID_ARGUMENT = 4
INVALID_USAGE = 5


@pytest.fixture
def nccl(library: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(library))
    loaded.ncclGetErrorString.restype = ctypes.c_char_p
    loaded.ncclGetLastError.restype = ctypes.c_char_p
    loaded.ncclGetLastError.argtypes = [ctypes.c_void_p]
    return loaded


@pytest.mark.parametrize("code", STRINGS)
def test_error_string_is_the_vendors(nccl: ctypes.CDLL, code: int) -> None:
    assert nccl.ncclGetErrorString(code) == STRINGS[code].encode()


@pytest.mark.parametrize("code", [9, 10, 1000, -1, -(2**31), 2**31 - 1])
def test_number_that_is_no_result_has_a_string_too(nccl: ctypes.CDLL, code: int) -> None:
    assert nccl.ncclGetErrorString(code) == b"unknown result code"


def test_last_error_belongs_to_the_thread_and_outlives_success(nccl: ctypes.CDLL) -> None:
    texts: list[bytes] = []

    def fresh_thread() -> None:
        texts.append(nccl.ncclGetLastError(None))
        assert nccl.ncclGetVersion(None) == INVALID_ARGUMENT
        texts.append(nccl.ncclGetLastError(None))
        assert nccl.ncclGetVersion(ctypes.byref(ctypes.c_int())) == 0
        texts.append(nccl.ncclGetLastError(None))

    thread = threading.Thread(target=fresh_thread)
    thread.start()
    thread.join(30)
    explained = b"ncclGetVersion: version is NULL; pass the address of an int"
    assert texts == [b"", explained, explained]


def test_warn_level_prints_the_text_and_without_it_nothing_is_printed(library: Path) -> None:
    script = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).ncclGetVersion(None)"
    printed = {}
    for level in ("", "WARN"):
        done = subprocess.run(
            [sys.executable, "-c", script, library],
            capture_output=True,
            text=True,
            timeout=30,
            env={"NCCL_DEBUG": level} if level else {},
        )
        printed[level] = done.stdout + done.stderr
    assert printed[""] == ""
    assert "NCCL WARN ncclGetVersion: version is NULL" in printed["WARN"]


@pytest.mark.parametrize("name", ["ncclTeamRankToWorld", "ncclTeamRankToLsa"])
def test_rank_of_a_team_is_minus_one_with_a_reason(nccl: ctypes.CDLL, name: str) -> None:
    class Team(ctypes.Structure):
        _fields_ = [("ranks", ctypes.c_int), ("rank", ctypes.c_int), ("stride", ctypes.c_int)]

    function = getattr(nccl, name)
    function.argtypes = [ctypes.c_void_p, Team, ctypes.c_int]
    assert function(None, Team(4, 1, 1), 2) == -1
    assert nccl.ncclGetLastError(None).startswith(name.encode() + b" needs a GPU")


# (elements, bytes of one) → slots of 8 bytes; as the vendor's library answers, wrapping included.
SLOTS = {
    (0, 0): 0,
    (1, 1): 1,
    (1, 8): 1,
    (1, 9): 2,
    (3, 17): 9,
    (100, 4): 100,
    (-1, 8): -1,
    (5, -3): 0,
    (5, -9): 0,
    (2**30, 64): 0,
    (5, 2**31 - 1): -1342177275,
}


@pytest.mark.parametrize("question", SLOTS)
def test_slots_are_counted_as_the_vendor_counts(
    nccl: ctypes.CDLL, question: tuple[int, int]
) -> None:
    assert nccl.ncclLLA2ACalcSlots(*question) == SLOTS[question]
