# SPDX-License-Identifier: Apache-2.0
"""Structs that callers fill in, as clients built against other NCCL versions pass them."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest
from abi_client import COUNT, FLOAT32, NULL, SUM, Api, ptr, size

SUCCESS, INVALID_ARGUMENT = 0, 4
MAGIC = 0xCAFEBEEF
UNSET = 0x80000000
PAGE = 4096
# Version → sizeof(ncclConfig_t) in that version's header.
COMMUNICATOR_SIZES = {
    21400: 24,
    21700: 40,
    21800: 48,
    22605: 48,
    22705: 72,
    22809: 80,
    22907: 88,
    23003: 96,
    23000: 96,  # what SGLang writes
    23007: 96,
    23102: 112,
    23203: 120,
    24000: 160,  # a header of the future
}


@pytest.fixture
def api(library: Path) -> Api:
    return Api(str(library))


def _guarded_struct(bytes_: int, version: int, magic: int = MAGIC) -> tuple[Any, Any]:
    """(address, what keeps it alive): a struct that ends where readable memory ends.

    A library that reads beyond the caller's size is killed by the page behind it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ptr, size, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    private_anonymous, read_write = 0x22, 0x3
    start = libc.mmap(None, 2 * PAGE, read_write, private_anonymous, -1, 0)
    assert start != ptr(-1).value
    assert libc.mprotect(ptr(start + PAGE), size(PAGE), 0) == 0
    words = (ctypes.c_uint32 * (bytes_ // 4)).from_address(start + PAGE - bytes_)
    words[0], words[1], words[2], words[3] = bytes_, 0, magic, version
    return ptr(start + PAGE - bytes_), words


def _communicator_config(bytes_: int, version: int, magic: int = MAGIC) -> tuple[Any, Any]:
    address, words = _guarded_struct(bytes_, version, magic)
    pointers = {8, 9, 12, 13}  # netName, commName: in words of four bytes
    for index in range(4, len(words)):
        words[index] = 0 if index in pointers else UNSET
    return address, words


def _init(api: Api, config: Any) -> int:
    return int(api.CommInitRankConfig(ctypes.byref(ptr()), 1, api.unique_id(), 0, config))


@pytest.mark.parametrize("version", COMMUNICATOR_SIZES)
def test_config_of_any_version_is_taken_and_not_read_beyond_its_size(
    api: Api, version: int
) -> None:
    address, words = _communicator_config(COMMUNICATOR_SIZES[version], version)
    assert _init(api, address) == SUCCESS
    words[4] = 2  # blocking
    assert _init(api, address) == INVALID_ARGUMENT
    assert b"blocking is 2" in api.library.ncclGetLastError(NULL)


@pytest.mark.parametrize(
    ("bytes_", "magic"), [(120, 0), (120, 0x74685283), (16, MAGIC)], ids=["0", "other", "short"]
)
def test_config_without_its_initialiser_is_refused_in_the_vendors_words(
    api: Api, bytes_: int, magic: int
) -> None:
    address, _ = _communicator_config(bytes_, 23203, magic)
    assert _init(api, address) == INVALID_ARGUMENT
    expected = b"ncclConfig_t argument not initialized via NCCL_CONFIG_INITIALIZER"
    assert api.library.ncclGetLastError(NULL) == expected


def _all_reduce(api: Api, comm: Any, config: Any) -> int:
    api.send[0] = 3.0
    return int(
        api.AllReduceConfig(api.send, api.receive, size(COUNT), FLOAT32, SUM, comm, NULL, config)
    )


@pytest.mark.parametrize(("version", "bytes_"), [(23102, 64), (23203, 72), (24000, 104)])
def test_call_config_of_any_version_is_taken_and_null_is_the_plain_call(
    api: Api, version: int, bytes_: int
) -> None:
    comm = api.comm()
    address, words = _guarded_struct(bytes_, version)
    for index in (6, 7, 8, 9, 13):
        words[index] = UNSET
    words[12] = 1
    assert _all_reduce(api, comm, address) == SUCCESS
    assert api.receive[0] == 3.0
    assert _all_reduce(api, comm, NULL) == SUCCESS


@pytest.mark.parametrize(("bytes_", "magic"), [(72, 0), (56, MAGIC), (16, MAGIC)])
def test_call_config_without_its_initialiser_is_refused(api: Api, bytes_: int, magic: int) -> None:
    comm = api.comm()
    address, _ = _guarded_struct(bytes_, 23203, magic)
    assert _all_reduce(api, comm, address) == INVALID_ARGUMENT
    assert b"NCCL_COLLCONFIG_INITIALIZER" in api.library.ncclGetLastError(NULL)


@pytest.mark.parametrize("bytes_", [56, 152])
def test_properties_are_written_up_to_the_callers_size(api: Api, bytes_: int) -> None:
    comm = api.comm()
    address, words = _guarded_struct(bytes_, 22900 if bytes_ == 56 else 23203)
    assert api.CommQueryProperties(comm, address) == SUCCESS
    rank, ranks = words[4], words[5]
    assert (words[0], words[2], rank, ranks) == (bytes_, MAGIC, 0, 1)
