# SPDX-License-Identifier: Apache-2.0
"""The Communicator: how one is made, divided, aborted and closed.

What it can do is in operations.py; how ranks find each other is in rendezvous.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TypeVar

from flexlink._native import check, interruptible, library, native
from flexlink.errors import InvalidArgument
from flexlink.handle import make_queue, takes_cuda
from flexlink.operations import Operations

T = TypeVar("T")


def _long(call: Callable[[], T], device: str | None) -> T:
    """A call that takes its time, on this thread's GPU where it is one's. Obeys Ctrl-C."""
    if takes_cuda(device):
        from flexlink.cuda import in_this_context

        call = in_this_context(call)
    return interruptible(call)


class Communicator(Operations):
    """A fixed set of ranks that communicate; made by flexlink.init(), split() or shrink().

    All ranks call the same collectives in the same order with the same counts, types, op and root;
    a difference is found and raises InvalidUsage on every rank. One thread at a time, except
    abort(). An array argument `x` or `out` is a C-contiguous NumPy array, a CPU tensor (DLPack) or
    an object with the buffer protocol; its shape does not travel, only its elements in order.
    Where calls pass through to NVIDIA's NCCL, and with FLEXLINK_DEVICE=cuda on our own lanes
    (FLEXLINK_PASS_THROUGH=0), unless the communicator was made with device="host", it is a CUDA
    array instead (torch, CuPy, DLPack, `__cuda_array_interface__`) on the current device:
    operations are enqueued on the stream on which its library works now and come back at once; that
    stream, and a Handle, wait for them. The types are int8, uint8, int32, uint32, int64, uint64,
    float16, float32, float64, bfloat16, float8_e4m3fn and float8_e5m2; operations that only move
    also take all others.

    Every operation blocks until its buffers may be used again, releases the GIL meanwhile, obeys
    Ctrl-C, and returns its output; with `async_=True` it returns a Handle at once. Every operation
    raises InvalidArgument (this rank's arguments), InvalidUsage (does not fit what others called),
    RemoteError (a peer died), SystemError_ or TimeoutError_.

    Attributes:
        rank: this rank, 0 ≤ rank < size.
        size: number of ranks.
    """

    def __init__(self, comm: Any, device: str | None = None) -> None:
        """Takes over `comm`, an ncclComm_t; for the library's own use."""
        ffi, _ = native()
        self._ffi, self._lib, self._device = ffi, library(device), device
        number = ffi.new("int*")
        check(self._lib.ncclCommCount(comm, number))
        self.size = int(number[0])
        check(self._lib.ncclCommUserRank(comm, number))
        self.rank = int(number[0])
        self._handle: Any = comm
        self._aborting = threading.Lock()
        self._queue = make_queue(device)

    @classmethod
    def connect(
        cls, unique_id: bytes, rank: int, size: int, device: str | None = None
    ) -> Communicator:
        """Joins `size` ranks that all hold the same 128-byte id (see flexlink.unique_id).

        device: as in flexlink.init(); of the id, too.
        Returns when all have come. Raises after 120 s with a text that names the missing ranks.
        """
        ffi, lib = native()[0], library(device)
        if len(unique_id) != ffi.sizeof("ncclUniqueId"):
            raise InvalidArgument(f"a unique id has 128 bytes, not {len(unique_id)}")
        if not 0 <= rank < size:
            raise InvalidArgument(f"rank {rank} of {size} ranks: ranks are 0 to {size - 1}")
        key = ffi.new("ncclUniqueId*")
        ffi.memmove(key, unique_id, len(unique_id))
        out = ffi.new("ncclComm_t*")
        _long(lambda: check(lib.ncclCommInitRank(out, size, key[0], rank)), device)
        return cls(out[0], device)

    def __repr__(self) -> str:
        state = "" if self._handle is not None else ", closed"
        return f"<flexlink.Communicator rank {self.rank} of {self.size}{state}>"

    # ---- Children and the end ----

    def split(self, color: int | None, key: int = 0) -> Communicator | None:
        """Collective: ranks of equal `color` form a child, ordered by `key`, then by rank.

        color None: this rank takes part in the call but joins no child and gets None.
        """
        ffi, lib = self._ffi, self._lib
        if color is not None and color < 0:
            raise InvalidArgument(f"color {color}: colors are 0 or more, or None to stay out")
        number = lib.NCCL_SPLIT_NOCOLOR if color is None else color
        out, comm, null = ffi.new("ncclComm_t*"), self._open(), ffi.NULL
        _long(lambda: check(lib.ncclCommSplit(comm, number, key, out, null)), self._device)
        return None if out[0] == null else Communicator(out[0], self._device)

    def shrink(self, exclude: Iterable[int], *, abort: bool = False) -> Communicator:
        """A child of all ranks but `exclude`, in the old order; called only by those that stay.

        Args:
            exclude: ranks of this communicator.
            abort: give up what is pending here; for a communicator whose excluded ranks are dead.
        """
        ffi, lib = self._ffi, self._lib
        ranks = sorted(set(exclude))
        for rank in ranks:
            self._check_rank(rank, "exclude")
        flags = lib.NCCL_SHRINK_ABORT if abort else lib.NCCL_SHRINK_DEFAULT
        out, comm, null = ffi.new("ncclComm_t*"), self._open(), ffi.NULL
        _long(
            lambda: check(
                lib.ncclCommShrink(comm, ffi.new("int[]", ranks), len(ranks), out, null, flags)
            ),
            self._device,
        )
        return Communicator(out[0], self._device)

    def abort(self) -> None:
        """Gives up pending work on all ranks and frees the communicator; from any thread.

        A call that blocks in another thread raises. Buffers of unfinished operations are undefined.
        """
        with self._aborting:
            comm, self._handle = self._handle, None
        if comm is not None:
            self._lib.ncclCommAbort(comm)

    def close(self) -> None:
        """Waits for this rank's work, tells the peers that it leaves, and frees. Twice is fine."""
        with self._aborting:
            comm, self._handle = self._handle, None
        try:
            if comm is not None:
                self._finalize(comm)
        finally:
            self._queue.destroy()

    def _finalize(self, comm: Any) -> None:
        try:
            self._queue.wait(None)
            _long(lambda: check(self._lib.ncclCommFinalize(comm)), self._device)
        except BaseException:
            self._lib.ncclCommAbort(comm)
            raise
        check(self._lib.ncclCommDestroy(comm))

    def __enter__(self) -> Communicator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """close(); after an exception abort(), since the peers may wait for what never comes."""
        if error is not None:
            self.abort()
        self.close()
