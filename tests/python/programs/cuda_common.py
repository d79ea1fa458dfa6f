# SPDX-License-Identifier: Apache-2.0
"""What ranks do with CUDA arrays whoever carries them: the vendor's library, or our own lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

import flexlink


def refused(call: Callable[[], Any], words: str) -> None:
    """The call must raise InvalidArgument with these words."""
    try:
        call()
    except flexlink.InvalidArgument as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"not refused: {words}")


def communicate(comm: flexlink.Communicator, array: Callable[[Any], Any], count: int) -> None:
    """All kinds of calls; array() makes one of a NumPy array, with holds() to compare it."""
    rank, size = comm.rank, comm.size
    ranks = numpy.arange(size)
    for kind in ("float32", "int64", "float16", "uint8"):
        x = array(numpy.full(count, rank + 1, kind))
        assert comm.all_reduce(x) is x
        x.holds(numpy.full(count, (ranks + 1).sum(), kind))
    x, out = array(numpy.full((2, 3), rank)), array(numpy.zeros((2 * size, 3), "int64"))
    handle = comm.all_gather(x, out, async_=True)
    assert handle.wait(timeout=20) is out
    assert handle.done()
    out.holds(numpy.repeat(ranks, 6).reshape(2 * size, 3))
    mine, theirs = array(numpy.full(9, rank)), array(numpy.zeros(9, "int64"))
    with comm.group():
        comm.send(mine, (rank + 1) % size)
        comm.recv(theirs, (rank - 1) % size)
    theirs.holds(numpy.full(9, (rank - 1) % size))
    comm.barrier()
    refused(lambda: comm.all_reduce(numpy.ones(3)), "lies in host memory, and this communicator")


def beside_host_memory(comm: flexlink.Communicator, array: Callable[[Any], Any]) -> None:
    """A second communicator of the same ranks on host memory, in one group with `comm`."""
    rank, size = comm.rank, comm.size
    total = sum(range(1, size + 1))
    with flexlink.init(device="host") as plain:
        shared = flexlink.empty(1000, "int64")
        shared[:] = rank + 1
        assert plain.all_reduce(shared) is shared
        assert (shared == total).all()
        x, y = array(numpy.full(1000, rank + 1)), numpy.full(1000, rank + 1)
        with flexlink.group():
            comm.all_reduce(x)
            plain.all_reduce(y)
        x.holds(numpy.full(1000, total))
        assert (y == total).all()
        handle = plain.all_reduce(y, async_=True)
        handle.wait(timeout=20)
        assert (y == total * size).all()
        child = plain.split(0, key=-rank)
        assert child is not None and child.rank == size - 1 - rank
        child.barrier()
        child.close()
        refused(lambda: plain.all_reduce(x), "is on host memory")
