# SPDX-License-Identifier: Apache-2.0
"""Every export, called with NULLs or garbage, returns an error that explains itself."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import wrong_calls
from abi_client import Api, ptr, size
from abi_header import functions, listed_names
from wrong_calls import Answer

SUCCESS, SYSTEM_ERROR, INVALID_ARGUMENT, INVALID_USAGE = 0, 2, 4, 5

# Functions for which zeros are a fair call, as they are for the vendor: nothing to free, nothing
# to do, or no result code.
FINE_WITH_NULL = {
    "ncclCommAbort",
    "ncclCommDestroy",
    "ncclCommFinalize",
    "ncclCommRevoke",
    "ncclGroupStart",
    "ncclMemFree",
    "ncclLLA2ACalcSlots",
    "ncclGetErrorString",
    "ncclGetLastError",
    "ncclParamDumpAll",
    "ncclResetDebugInit",
}
# Garbage cannot hurt these: they take nothing, or everything.
FINE_WITH_JUNK = {
    "ncclGetVersion",
    "ncclGetUniqueId",
    "ncclGroupStart",
    "ncclLLA2ACalcSlots",
    "ncclGetErrorString",
    "ncclGetLastError",
    "ncclParamGetAllParameterKeys",
    "ncclParamDumpAll",
    "ncclResetDebugInit",
}
# No result code: the empty team (reported as 0) or -1, with a text.
TEAMS = {name for name in listed_names() if name.startswith("ncclTeam")}


@pytest.fixture(scope="module")
def answers(library: Path) -> dict[str, dict[str, Answer]]:
    """Kind of wrongness → name → what came back."""
    return {kind: wrong_calls.ask(library, kind) for kind in ("null", "junk", "address")}


@pytest.mark.parametrize("kind", ["null", "junk", "address"])
@pytest.mark.parametrize("name", listed_names())
def test_wrong_call_returns_an_error_with_a_reason_and_does_not_crash(
    answers: dict[str, dict[str, Answer]], kind: str, name: str
) -> None:
    answer = answers[kind][name]
    assert answer.ended == 0, f"ended by signal {-answer.ended}"
    fine = FINE_WITH_NULL if kind == "null" else FINE_WITH_JUNK
    if name in fine:
        assert answer.code in (None, SUCCESS) or name == "ncclLLA2ACalcSlots"
        return
    assert answer.text != "", "an error must say what was wrong"
    if name in TEAMS:
        assert answer.code in (0, -1)
    elif name == "ncclMemAlloc" and kind != "null":
        assert answer.code == SYSTEM_ERROR  # more memory than there is
    else:
        assert answer.code in (INVALID_ARGUMENT, INVALID_USAGE), answer


@pytest.fixture(scope="module")
def beside(library: Path) -> dict[str, Answer]:
    """Name → what came back for a good communicator beside handles that are none."""
    return wrong_calls.ask(library, "beside")


TAKES_COMM_AND_HANDLE = [
    name
    for name in listed_names()
    if {"ncclComm_t", "const ncclComm_t"} & set(functions()[name].parameters)
    and {"ncclWindow_t", "cudaStream_t"} & set(functions()[name].parameters)
]


@pytest.mark.parametrize("name", TAKES_COMM_AND_HANDLE)
def test_stream_or_window_that_is_none_is_an_invalid_argument(
    beside: dict[str, Answer], name: str
) -> None:
    answer = beside[name]
    assert answer.ended == 0, f"ended by signal {-answer.ended}"
    assert answer.code == INVALID_ARGUMENT
    assert answer.text != ""


@pytest.mark.parametrize("name", [n for n in listed_names() if n not in TAKES_COMM_AND_HANDLE])
def test_good_communicator_beside_empty_structs_never_crashes(
    beside: dict[str, Answer], name: str
) -> None:
    answer = beside[name]
    assert answer.ended == 0, f"ended by signal {-answer.ended}"
    assert answer.code in (None, 0, -1) or answer.text != ""


def test_destroyed_communicator_is_an_invalid_argument(library: Path) -> None:
    api = Api(str(library))
    comm, count = api.comm(), ctypes.c_int(-7)
    assert api.CommDestroy(comm) == SUCCESS
    assert api.CommCount(comm, ctypes.byref(count)) == INVALID_ARGUMENT
    assert api.CommDestroy(comm) == INVALID_ARGUMENT
    assert api.CommAbort(comm) == INVALID_ARGUMENT
    assert count.value == -7


def test_window_is_known_to_its_communicator_until_it_is_deregistered(library: Path) -> None:
    api = Api(str(library))
    comm, other, found = api.comm(), api.comm(), ptr()
    window, block = api.window(comm)
    assert api.WinGetUserPtr(other, window, ctypes.byref(found)) == INVALID_ARGUMENT
    assert api.WinGetUserPtr(comm, window, ctypes.byref(found)) == SUCCESS
    assert found.value == block.value
    assert api.CommWindowDeregister(other, window) == INVALID_ARGUMENT
    assert api.CommWindowDeregister(comm, window) == SUCCESS
    assert api.CommWindowDeregister(comm, window) == INVALID_ARGUMENT


def test_memory_is_freed_once_and_only_by_its_start(library: Path) -> None:
    api = Api(str(library))
    block = api.memory()
    assert block.value is not None
    assert api.MemFree(ptr(block.value + 64)) == INVALID_ARGUMENT
    assert api.MemFree(block) == SUCCESS
    assert api.MemFree(block) == INVALID_ARGUMENT


def test_no_memory_at_all_is_a_null_pointer(library: Path) -> None:
    api, block = Api(str(library)), ptr(7)
    assert api.MemAlloc(ctypes.byref(block), size(0)) == SUCCESS
    assert block.value is None
