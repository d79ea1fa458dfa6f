# SPDX-License-Identifier: Apache-2.0
"""Waiting: the queue of one communicator, the handle of one operation, the group of one thread.

Not the operations themselves: those are in communicator.py.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Union

from flexlink._native import (
    IN_PROGRESS,
    INVALID_USAGE,
    SLICE_MICROS,
    SUCCESS,
    check,
    libraries,
    library,
    native,
)
from flexlink.errors import InvalidArgument, InvalidUsage, TimeoutError_

if TYPE_CHECKING:
    from flexlink.cuda import CudaQueue


class Queue:
    """The host stream of one communicator, and the buffers that its unfinished work still uses.

    The work runs in order. One thread at a time, as for the communicator.
    """

    def __init__(self, device: str | None = None) -> None:
        ffi, _ = native()
        self._ffi, self._lib = ffi, library(device)
        out = ffi.new("cudaStream_t*")
        check(self._lib.flexlinkStreamCreate(out))
        self.stream: Any = out[0]
        self._ticket = ffi.new("uint64_t*")
        self._unfinished: deque[tuple[int, object]] = deque()

    def on(self, *views: Any) -> Any:
        """The stream for an operation on `views`.

        Raises:
            InvalidArgument: one of them is memory of CUDA.
        """
        for each in views:
            if each.stream is not None:
                raise InvalidArgument(
                    "an array lies in CUDA memory, and this communicator is on host memory: pass a "
                    "copy on the CPU. On CUDA (device='cuda') calls pass through to NVIDIA's NCCL, "
                    "where a GPU and that library are found; NCCL_DEBUG=INFO says which were "
                    "looked for"
                )
        return self.stream

    def token(self) -> bytearray:
        """A small array for a barrier."""
        return bytearray(1)

    def settle(self, buffers: object) -> None:
        """Nothing: a blocking operation is done when it comes back."""

    def record(self, buffers: object) -> int:
        """A ticket for all work so far; keeps `buffers` alive until that work is finished."""
        check(self._lib.flexlinkStreamRecord(self.stream, self._ticket))
        ticket = int(self._ticket[0])
        while self._unfinished and self.poll(self._unfinished[0][0], 0) != IN_PROGRESS:
            self._unfinished.popleft()
        self._unfinished.append((ticket, buffers))
        return ticket

    def poll(self, ticket: int, micros: int) -> int:
        """Waits at most `micros` microseconds for `ticket`; the result code, maybe in progress."""
        if self.stream is None:
            return SUCCESS  # destroying the stream waited for all its work
        return int(self._lib.flexlinkStreamWait(self.stream, ticket, micros))

    def wait(self, buffers: object) -> None:
        """Returns when all work so far is finished; raises its first error. Obeys Ctrl-C."""
        code = IN_PROGRESS
        try:
            while code == IN_PROGRESS:
                code = self._lib.bridgeWait(self.stream, SLICE_MICROS)
        except BaseException:
            self.record(buffers)  # Ctrl-C ends the wait, not the operation
            raise
        if code != SUCCESS:
            check(code)
        self._unfinished.clear()

    def destroy(self) -> None:
        """Waits for what is left, then frees the stream. Twice is fine."""
        stream, self.stream = self.stream, None
        if stream is not None:
            self._lib.flexlinkStreamDestroy(stream)
            self._unfinished.clear()


AnyQueue = Union["Queue", "CudaQueue"]


def may_take_cuda() -> bool:
    """Whether takes_cuda() is worth asking, without a call: one keeps forked children from any."""
    asked = os.environ.get("FLEXLINK_PASS_THROUGH") == "1"
    asked = asked or os.environ.get("FLEXLINK_DEVICE") == "cuda"
    return asked or any(map(os.path.exists, ("/proc/driver/nvidia/version", "/dev/dxg")))


@functools.cache
def takes_cuda(device: str | None = None) -> bool:
    """Whether communicators are on GPUs, the vendor's or ours: then there are no host streams.

    device: where that was said, else the process decides.
    """
    if device is not None:
        return device == "cuda"
    ffi, lib = native()
    out = ffi.new("cudaStream_t*")
    code = lib.flexlinkStreamCreate(out)
    if code == SUCCESS:
        lib.flexlinkStreamDestroy(out[0])
    return bool(code == INVALID_USAGE)


def make_queue(device: str | None) -> AnyQueue:
    """The queue of a new communicator, for the memory that it communicates."""
    if not takes_cuda(device):
        return Queue(device)
    from flexlink.cuda import CudaQueue

    return CudaQueue(device)


class Handle:
    """One asynchronous operation. Its buffers belong to the library until wait() or done() says so.

    Attributes:
        result: the output array of the operation (its content counts once it is finished).
    """

    def __init__(self, queue: AnyQueue, result: Any) -> None:
        self.result = result
        self._queue = queue
        self._ticket: int | None = None  # None: still inside a group

    def _issued(self, ticket: int) -> None:
        self._ticket = ticket

    def _issued_ticket(self) -> int:
        if self._ticket is None:
            raise InvalidUsage(
                "this operation is part of a group that has not ended: leave the group, then wait"
            )
        return self._ticket

    def done(self) -> bool:
        """Whether the operation is finished, with or without an error. Never waits."""
        return self._queue.poll(self._issued_ticket(), 0) != IN_PROGRESS

    def wait(self, timeout: float | None = None) -> Any:
        """Waits until the operation is finished and returns its result.

        Args:
            timeout: seconds; None waits without limit.
        Raises:
            TimeoutError_: not finished in time. The operation goes on; wait again or abort.
            FlexlinkError: the operation's own error.
        """
        ticket = self._issued_ticket()
        deadline = None if timeout is None else time.monotonic() + timeout
        micros = SLICE_MICROS
        while True:
            if deadline is not None:
                micros = max(0, min(micros, int((deadline - time.monotonic()) * 1e6)))
            code = self._queue.poll(ticket, micros)
            if code == SUCCESS:
                return self.result
            if code != IN_PROGRESS:
                check(code)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError_(
                    f"the operation is not finished after {timeout} s. It goes on: wait() again, "
                    "or abort() the communicator. 'flexlink links' shows what each rank is doing."
                )


class _Group(threading.local):
    """What this thread collects between the outermost group's start and end."""

    def __init__(self) -> None:
        self.depth = 0
        self.blocking: list[tuple[AnyQueue, object]] = []
        self.handles: list[tuple[Handle, AnyQueue, object]] = []


_group = _Group()


def finish(queue: AnyQueue, result: Any, buffers: object, async_: bool) -> Any:
    """The last step of each operation: wait, or make a handle, or leave both to the group's end."""
    if _group.depth:
        if not async_:
            _group.blocking.append((queue, buffers))
            return result
        handle = Handle(queue, result)
        _group.handles.append((handle, queue, buffers))
        return handle
    if async_:
        handle = Handle(queue, result)
        handle._issued(queue.record(buffers))
        return handle
    queue.wait(buffers)
    return result


@contextmanager
def group() -> Iterator[None]:
    """Operations inside the `with` block, of any communicators, start together at its end.

    Sends and receives between ranks belong into a group, so that no order of calls can deadlock.
    Blocking operations are finished when the block has ended; handles can be waited for from then
    on. If the block raises, nothing of the outermost group runs. Groups nest.
    """
    begun = libraries()
    for lib in begun:
        check(lib.ncclGroupStart())
    _group.depth += 1
    try:
        yield
    except BaseException:
        _leave_group()
        for lib in begun:
            lib.ncclGroupSimulateEnd(native()[0].NULL)
        raise
    blocking, handles = _leave_group()
    for code in [lib.ncclGroupEnd() for lib in begun]:
        check(code)
    for handle, queue, buffers in handles:
        handle._issued(queue.record(buffers))
    for queue, buffers in blocking:
        queue.wait(buffers)


def _leave_group() -> tuple[list[tuple[AnyQueue, object]], list[tuple[Handle, AnyQueue, object]]]:
    """One level up; the outermost level hands out what was collected and starts anew."""
    _group.depth -= 1
    if _group.depth:
        return [], []
    collected = _group.blocking, _group.handles
    _group.blocking, _group.handles = [], []
    return collected
