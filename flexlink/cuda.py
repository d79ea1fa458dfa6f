# SPDX-License-Identifier: Apache-2.0
"""CUDA arrays: `__cuda_array_interface__`, the stream that their library works on, and waiting.

Nothing here opens a library before a CUDA array has come.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flexlink._native import IN_PROGRESS, SUCCESS, check, library, native
from flexlink.errors import CudaError, InvalidArgument
from flexlink.exported import Exported, is_contiguous

T = TypeVar("T")

_KINDS = {"i": "int", "u": "uint", "f": "float", "c": "complex"}
_NOT_READY = 600  # CUDA_ERROR_NOT_READY
_NO_TIMING = 2  # CU_EVENT_DISABLE_TIMING
_POLL_SECONDS = 50e-6


def read(x: Any, role: str) -> Exported:
    """Describes the memory of `x`, an object with `__cuda_array_interface__`.

    Raises:
        InvalidArgument: what the object says is no such interface.
    """
    told = x.__cuda_array_interface__
    try:
        address, read_only = told["data"]
        shape = tuple(int(extent) for extent in told["shape"])
        order, kind, size = told["typestr"][0], told["typestr"][1], int(told["typestr"][2:])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InvalidArgument(
            f"{role}.__cuda_array_interface__ is {told!r}: it lacks data, shape or typestr"
        ) from error
    if told.get("mask") is not None:
        raise InvalidArgument(f"{role} has a mask, which cannot be sent; pass its data")
    strides = told.get("strides")
    contiguous = strides is None or is_contiguous(shape, strides, size)
    name = f"{_KINDS[kind]}{8 * size}" if kind in _KINDS else told["typestr"]
    if order == (">" if sys.byteorder == "little" else "<") and size > 1:
        name = str(told["typestr"])  # of the other byte order: it only moves
    name = "bool" if kind == "b" else name
    return Exported(
        int(address or 0), shape, contiguous, name, size, bool(read_only), x, stream_of(x, told)
    )


def stream_of(x: Any, told: Mapping[str, Any] | None = None) -> int:
    """The stream on which the library of `x` works now; 0 is the default stream.

    told: its `__cuda_array_interface__`, asked where neither torch nor CuPy made the array.
    """
    package = type(x).__module__.partition(".")[0]
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and isinstance(x, torch.Tensor):
        return int(torch.cuda.current_stream(x.device).cuda_stream)
    if cupy is not None and package == "cupy":
        return int(cupy.cuda.get_current_stream().ptr)
    if told is None:
        told = getattr(x, "__cuda_array_interface__", {})
    return int(told.get("stream") or 0)


@functools.lru_cache(maxsize=1)
def _driver() -> Any:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise CudaError(f"waiting for a CUDA stream needs the driver: {error}") from None


def _call(name: str, *arguments: Any) -> int:
    code = int(getattr(_driver(), name)(*arguments))
    if code not in (SUCCESS, _NOT_READY):
        raise CudaError(f"{name} gave CUDA error {code}")
    return code


def in_this_context(call: Callable[[], T]) -> Callable[[], T]:
    """`call` for another thread, on the device that is current in this one."""
    context = ctypes.c_void_p()
    known = int(_driver().cuCtxGetCurrent(ctypes.byref(context))) == SUCCESS
    if not known or not context:
        return call  # this thread has none either

    def run() -> T:
        _call("cuCtxSetCurrent", context)
        return call()

    return run


class _Token:
    """One byte of the vendor's memory, as the array of a barrier."""

    def __init__(self, address: int) -> None:
        self.__cuda_array_interface__ = {
            "data": (address, False), "shape": (1,), "typestr": "|u1", "version": 3,
        }  # fmt: skip


class CudaQueue:
    """What a Queue (handle.py) is for host memory: calls go to the arrays' own streams.

    An operation is enqueued and comes back at once, as CUDA programs expect; what is enqueued
    behind it on the same stream sees its result. The current device must be the arrays'. One
    thread.
    """

    def __init__(self, device: str | None = None) -> None:
        self._ffi, self._lib = native()[0], library(device)
        self._events: dict[int, tuple[Any, object]] = {}  # by ticket: the event and its buffers
        self._tickets = 0
        self._token: Any = None  # void** of it

    def on(self, *views: Any) -> Any:
        """The stream for an operation on `views`.

        Raises:
            InvalidArgument: one of them is host memory.
        """
        for each in views:
            if each.stream is None:
                raise InvalidArgument(
                    "an array lies in host memory, and this communicator is on GPUs: pass CUDA "
                    "arrays, make the communicator with device='host', or set FLEXLINK_DEVICE=host "
                    "for host memory alone"
                )
        return self._ffi.cast("cudaStream_t", views[0].stream)

    def record(self, buffers: Any) -> int:
        """A ticket for what the stream of `buffers` holds now; keeps `buffers` alive until then."""
        first = buffers if hasattr(buffers, "stream") else buffers[0]
        event = ctypes.c_void_p()
        _call("cuEventCreate", ctypes.byref(event), _NO_TIMING)
        _call("cuEventRecord", event, ctypes.c_void_p(first.stream))
        self._tickets += 1
        self._events[self._tickets] = event, buffers
        return self._tickets

    def poll(self, ticket: int, micros: int) -> int:
        """Waits at most `micros` microseconds for `ticket`; the result code, maybe in progress."""
        if ticket not in self._events:
            return SUCCESS
        end = time.monotonic() + micros / 1e6
        event, _ = self._events[ticket]
        while _call("cuEventQuery", event) == _NOT_READY:
            if time.monotonic() >= end:
                return IN_PROGRESS
            time.sleep(_POLL_SECONDS)
        self._free(ticket)
        return SUCCESS

    def _free(self, ticket: int) -> None:
        event, _ = self._events.pop(ticket)
        _call("cuEventDestroy_v2", event)

    def wait(self, buffers: object) -> None:
        """Nothing: the stream keeps the order."""

    def settle(self, buffers: Any) -> None:
        """Waits for what the stream of `buffers` holds now."""
        ticket = self.record(buffers)
        while self.poll(ticket, 1_000_000) == IN_PROGRESS:
            pass  # Ctrl-C is looked for in between

    def token(self) -> Any:
        """A small array for a barrier."""
        if self._token is None:
            made = self._ffi.new("void**")
            check(self._lib.ncclMemAlloc(made, 1))
            self._token = made
        return _Token(int(self._ffi.cast("uintptr_t", self._token[0])))

    def destroy(self) -> None:
        """Waits for what a handle still stands for. Twice is fine."""
        for ticket in list(self._events):
            while self.poll(ticket, 1_000_000) == IN_PROGRESS:
                pass
        token, self._token = self._token, None
        if token is not None:
            self._lib.ncclMemFree(token[0])
