# SPDX-License-Identifier: Apache-2.0
"""The C API through ctypes, as small as the ABI tests need it: structs by value, one rank at hand.

Test material: programs use the Python package, which keeps buffers alive and turns codes into
exceptions.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

SUM, FLOAT32 = 0, 7
COUNT = 8
PAGE = 4096
NULL = ctypes.c_void_p(None)
ptr = ctypes.c_void_p
size = ctypes.c_size_t


class UniqueId(ctypes.Structure):
    _fields_ = [("internal", ctypes.c_char * 128)]


class Team(ctypes.Structure):
    _fields_ = [("ranks", ctypes.c_int), ("rank", ctypes.c_int), ("stride", ctypes.c_int)]


class WaitSignal(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("count", "peer", "signal", "context")]


class Multimem(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p)]


def stamped(bytes_: int, magic: int = 0xCAFEBEEF) -> Any:
    """A struct as its initialiser begins it: size, magic, version; fields of int are INT_MIN."""
    words = (ctypes.c_uint32 * (bytes_ // 4))()
    words[0], words[2], words[3] = bytes_, magic, 23203
    return words


def communicator_config() -> Any:
    config = stamped(120)
    for offset in [*range(16, 32, 4), 40, 44, *range(56, 116, 4)]:
        config[offset // 4] = 0x80000000
    return config


class Api:
    """The library, one rank's communicator on demand, and buffers that live long enough."""

    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)
        self.library.ncclGetLastError.restype = ctypes.c_char_p
        self.library.ncclGetErrorString.restype = ctypes.c_char_p
        self.send = (ctypes.c_float * (4 * PAGE))()
        self.receive = (ctypes.c_float * (4 * PAGE))()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(self.library, "nccl" + name)
        return function

    def must(self, code: int) -> None:
        """For the steps before the call in question."""
        if code != 0:
            raise RuntimeError(f"{code}: {self.library.ncclGetLastError(NULL)!r}")

    def unique_id(self) -> UniqueId:
        made = UniqueId()
        self.must(self.GetUniqueId(ctypes.byref(made)))
        return made

    def comm(self) -> ctypes.c_void_p:
        """A communicator of one rank."""
        made = ptr()
        self.must(self.CommInitRank(ctypes.byref(made), 1, self.unique_id(), 0))
        return made

    def pair(self) -> list[ctypes.c_void_p]:
        """Both ranks of a communicator of two, in this process."""
        made = (ptr * 2)()
        self.must(self.CommInitAll(made, 2, None))
        return [ptr(handle) for handle in made]

    def memory(self) -> ctypes.c_void_p:
        block = ptr()
        self.must(self.MemAlloc(ctypes.byref(block), size(PAGE)))
        return block

    def window(self, comm: ctypes.c_void_p) -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
        """(the window, its memory)."""
        block, window = self.memory(), ptr()
        self.must(self.CommWindowRegister(comm, block, size(PAGE), ctypes.byref(window), 1))
        return window, block

    def parameter(self, key: bytes) -> ctypes.c_void_p:
        handle = ptr()
        self.must(self.ParamBind(ctypes.byref(handle), key))
        return handle
