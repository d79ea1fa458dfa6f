# SPDX-License-Identifier: Apache-2.0
"""What a communicator can do: the collectives, send and receive. Checks and translates arguments.

How memory is read is in buffers.py, how waiting works in handle.py, life and death of a
communicator in communicator.py.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from flexlink._native import SUCCESS, check
from flexlink.buffers import View, empty_like, scalar_bytes, view, wire
from flexlink.errors import InvalidArgument, InvalidUsage
from flexlink.handle import AnyQueue, finish, group

OPS = {"sum": 0, "prod": 1, "max": 2, "min": 3, "avg": 4}


class PreMulSum(NamedTuple):
    """A reduction: the sum over ranks of `factor` × contribution; each rank has its own factor."""

    factor: float


class Operations:
    """The operations of a Communicator, which sets the attributes; not for use by itself.

    Each method builds two views, checks that they fit, and makes one call of the C API.
    """

    rank: int
    size: int
    _ffi: Any
    _lib: Any
    _handle: Any
    _queue: AnyQueue

    # ---- Collectives ----

    def all_reduce(
        self, x: Any, out: Any = None, op: str | PreMulSum = "sum", *, async_: bool = False
    ) -> Any:
        """out = op over all ranks' x, on every rank; bits do not depend on timing.

        Args:
            x: the contribution.
            out: as many elements of the same type; None: the result replaces x.
            op: "sum", "prod", "max", "min", "avg" or a PreMulSum.
        """
        send = view(x, "x", writable=out is None)
        recv = send if out is None else self._matching(out, send, send.elements, "all_reduce")
        kind, count = wire(send, reduces=True)
        code = self._reduction(
            op,
            send,
            lambda number: self._lib.ncclAllReduce(
                send.pointer, recv.pointer, count, kind, number, *self._on(send, recv)
            ),
        )
        return self._done(code, x if out is None else out, (send, recv), async_)

    def reduce(
        self,
        x: Any,
        out: Any = None,
        op: str | PreMulSum = "sum",
        root: int = 0,
        *,
        async_: bool = False,
    ) -> Any:
        """The same, on rank `root` only; elsewhere `out` is neither needed nor touched.

        Returns the result on root (x itself where out is None), None elsewhere.
        """
        self._check_rank(root, "root")
        mine = self.rank == root
        send = view(x, "x", writable=mine and out is None)
        in_place = not mine or out is None
        recv = send if in_place else self._matching(out, send, send.elements, "reduce")
        kind, count = wire(send, reduces=True)
        code = self._reduction(
            op,
            send,
            lambda number: self._lib.ncclReduce(
                send.pointer,
                recv.pointer,
                count,
                kind,
                number,
                root,
                *self._on(send, recv),
            ),
        )
        result = (x if out is None else out) if mine else None
        return self._done(code, result, (send, recv), async_)

    def broadcast(self, x: Any, root: int = 0, *, async_: bool = False) -> Any:
        """x on every rank = x of rank `root`; in place."""
        self._check_rank(root, "root")
        block = view(x, "x", writable=self.rank != root)
        kind, count = wire(block, reduces=False)
        code = self._lib.ncclBroadcast(
            block.pointer, block.pointer, count, kind, root, *self._on(block)
        )
        return self._done(code, x, block, async_)

    def all_gather(self, x: Any, out: Any = None, *, async_: bool = False) -> Any:
        """out on every rank = all ranks' x, one after the other in rank order.

        Args:
            x: shape (n, ...) or (), the same number of elements on every rank.
            out: size × x's elements; None makes an array of shape (size * n, ...).
        """
        send = view(x, "x")
        if out is None:
            out = empty_like(x, _scaled(send.shape, self.size))
        recv = self._matching(out, send, send.elements * self.size, "all_gather")
        kind, count = wire(send, reduces=False)
        code = self._lib.ncclAllGather(
            send.pointer, recv.pointer, count, kind, *self._on(send, recv)
        )
        return self._done(code, out, (send, recv), async_)

    def reduce_scatter(
        self, x: Any, out: Any = None, op: str | PreMulSum = "sum", *, async_: bool = False
    ) -> Any:
        """out on rank r = op over all ranks' r-th block of x.

        Args:
            x: shape (size * n, ...): size blocks in rank order.
            out: one block; None makes an array of shape (n, ...).
            op: as in all_reduce.
        """
        send = view(x, "x")
        block = self._block(send, "reduce_scatter")
        if out is None:
            out = empty_like(x, _divided(send.shape, self.size))
        recv = self._matching(out, send, block, "reduce_scatter")
        kind, count = wire(send._replace(elements=block), reduces=True)
        code = self._reduction(
            op,
            send,
            lambda number: self._lib.ncclReduceScatter(
                send.pointer, recv.pointer, count, kind, number, *self._on(send, recv)
            ),
        )
        return self._done(code, out, (send, recv), async_)

    def all_to_all(self, x: Any, out: Any = None, *, async_: bool = False) -> Any:
        """Block r of out = the block that rank r holds for this rank.

        Args:
            x: shape (size * n, ...): block r goes to rank r.
            out: as many elements, not x itself; None makes an array like x.
        """
        send = view(x, "x")
        block = self._block(send, "all_to_all")
        if out is None:
            out = empty_like(x, send.shape)
        recv = self._matching(out, send, send.elements, "all_to_all")
        kind, count = wire(send._replace(elements=block), reduces=False)
        code = self._lib.ncclAlltoAll(
            send.pointer, recv.pointer, count, kind, *self._on(send, recv)
        )
        return self._done(code, out, (send, recv), async_)

    def gather(self, x: Any, out: Any = None, root: int = 0, *, async_: bool = False) -> Any:
        """out on rank `root` = all ranks' x in rank order; returns it there, None elsewhere.

        Args:
            x: shape (n, ...) or (), the same number of elements on every rank.
            out: on root size × x's elements; None makes an array of shape (size * n, ...).
        """
        self._check_rank(root, "root")
        send = view(x, "x")
        recv, result = send, None
        if self.rank == root:
            result = empty_like(x, _scaled(send.shape, self.size)) if out is None else out
            recv = self._matching(result, send, send.elements * self.size, "gather")
        kind, count = wire(send, reduces=False)
        code = self._lib.ncclGather(
            send.pointer, recv.pointer, count, kind, root, *self._on(send, recv)
        )
        return self._done(code, result, (send, recv), async_)

    def scatter(
        self, x: Any = None, out: Any = None, root: int = 0, *, async_: bool = False
    ) -> Any:
        """out on rank r = block r of root's x.

        Args:
            x: on root, shape (size * n, ...): size blocks in rank order; elsewhere not read.
            out: one block; only root may leave it out and gets an array of shape (n, ...).
        """
        self._check_rank(root, "root")
        if self.rank != root:
            if out is None:
                raise InvalidArgument("scatter: out= is needed on every rank but root")
            recv = send = view(out, "out", writable=True)
            block = recv.elements
        else:
            send = view(x, "x")
            block = self._block(send, "scatter")
            if out is None:
                out = empty_like(x, _divided(send.shape, self.size))
            recv = self._matching(out, send, block, "scatter")
        kind, count = wire(recv._replace(elements=block), reduces=False)
        code = self._lib.ncclScatter(
            send.pointer, recv.pointer, count, kind, root, *self._on(send, recv)
        )
        return self._done(code, out, (send, recv), async_)

    def barrier(self, *, async_: bool = False) -> Any:
        """Returns when every rank has called it."""
        token = self._queue.token()
        result = self.all_reduce(token, op="max", async_=async_)
        if not async_:
            self._queue.settle(view(token, "token"))
        return result

    # ---- Send and receive ----

    def send(self, x: Any, peer: int, *, async_: bool = False) -> Any:
        """Sends x to rank `peer`, which calls recv with as many elements of the same type."""
        self._check_rank(peer, "peer")
        block = view(x, "x")
        kind, count = wire(block, reduces=False)
        code = self._lib.ncclSend(block.pointer, count, kind, peer, *self._on(block))
        return self._done(code, x, block, async_)

    def recv(self, x: Any, peer: int, *, async_: bool = False) -> Any:
        """Fills x with what rank `peer` sends."""
        self._check_rank(peer, "peer")
        block = view(x, "x", writable=True)
        kind, count = wire(block, reduces=False)
        code = self._lib.ncclRecv(block.pointer, count, kind, peer, *self._on(block))
        return self._done(code, x, block, async_)

    def group(self) -> AbstractContextManager[None]:
        """flexlink.group(): operations in the `with` block start together at its end."""
        return group()

    # ---- Shared steps ----

    def _open(self) -> Any:
        comm = self._handle
        if comm is None:
            raise InvalidUsage("this communicator was closed or aborted; make a new one")
        return comm

    def _on(self, *views: View) -> tuple[Any, Any]:
        """The last two arguments of a call on this memory: communicator and stream."""
        return self._open(), self._queue.on(*views)

    def _done(self, code: int, result: Any, buffers: object, async_: bool) -> Any:
        if code != SUCCESS:
            check(code)
        return finish(self._queue, result, buffers, async_)

    def _check_rank(self, rank: int, role: str) -> None:
        if not 0 <= rank < self.size:
            raise InvalidArgument(
                f"{role} {rank}: this communicator has ranks 0 to {self.size - 1}"
            )

    def _block(self, send: View, name: str) -> int:
        """Elements for each rank in x, whose first dimension must split evenly."""
        if not send.shape or send.shape[0] % self.size:
            raise InvalidArgument(
                f"{name}: x has shape {send.shape}; its first dimension must be a multiple of the "
                f"{self.size} ranks"
            )
        return send.elements // self.size

    def _matching(self, out: Any, send: View, count: int, name: str) -> View:
        recv = view(out, "out", writable=True)
        if recv.type != send.type or recv.elements != count:
            raise InvalidArgument(
                f"{name}: out holds {recv.elements} × {recv.type.name}; x of {send.elements} × "
                f"{send.type.name} on {self.size} ranks needs {count} × {send.type.name}"
            )
        return recv

    def _reduction(self, op: str | PreMulSum, send: View, call: Any) -> int:
        """call(number of op); makes and frees the number where `op` is a PreMulSum."""
        if not isinstance(op, PreMulSum):
            number = OPS.get(op)
            if number is None:
                names = ", ".join(OPS)
                raise InvalidArgument(f"op {op!r}: there are {names} and flexlink.PreMulSum(x)")
            return int(call(number))
        ffi, lib = self._ffi, self._lib
        made, comm = ffi.new("ncclRedOp_t*"), self._open()
        scalar = ffi.from_buffer(scalar_bytes(op.factor, send.type))
        residence = lib.ncclScalarHostImmediate
        check(lib.ncclRedOpCreatePreMulSum(made, scalar, send.type.code, residence, comm))
        try:
            return int(call(made[0]))
        finally:
            lib.ncclRedOpDestroy(made[0], comm)


def _scaled(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Shape of `size` blocks one after the other along the first dimension."""
    return (size * shape[0], *shape[1:]) if shape else (size,)


def _divided(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Shape of one of `size` blocks along the first dimension."""
    return (shape[0] // size, *shape[1:])
