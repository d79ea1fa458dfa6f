# SPDX-License-Identifier: Apache-2.0
"""What survivors and mismatched ranks get. Run with --keep-going; argument: the case."""

import os
import signal
import sys
import threading
import time

import numpy

import flexlink


def expect(kind: type[flexlink.FlexlinkError], call, limit: float, *words: str) -> str:
    """call() raises `kind` within `limit` seconds with all `words` in its text."""
    start = time.monotonic()
    try:
        call()
    except kind as error:
        took = time.monotonic() - start
        assert took < limit, took
        for word in words:
            assert word in str(error), (word, str(error))
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


def dead_peer(comm: flexlink.Communicator) -> None:
    """Rank 1 is killed; the others get RemoteError in 2 s, again at once, and shrink it away."""
    comm.barrier()
    if comm.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    x = numpy.ones(1 << 20, "float32")
    first = expect(flexlink.RemoteError, lambda: comm.all_reduce(x), 2.5, "rank 1")
    again = expect(flexlink.RemoteError, lambda: comm.all_reduce(x), 0.2, "rank 1")
    assert first == again, (first, again)
    with comm.shrink([1], abort=True) as fewer:
        assert fewer.size == comm.size - 1
        assert (fewer.all_reduce(numpy.ones(3, "int32")) == fewer.size).all()
    comm.abort()


def mismatch(comm: flexlink.Communicator) -> None:
    """Different counts are InvalidUsage on every rank, and the text quotes both."""
    x = numpy.ones(4 + comm.rank, "float32")
    expect(flexlink.InvalidUsage, lambda: comm.all_reduce(x), 10, "4", "5")
    comm.abort()


def abort_from_thread(comm: flexlink.Communicator) -> None:
    """abort() from another thread ends a call that waits for a rank that never comes."""
    if comm.rank == 0:
        threading.Timer(0.3, comm.abort).start()
        expect(flexlink.FlexlinkError, comm.barrier, 2.5)
        expect(flexlink.InvalidUsage, comm.barrier, 0.1, "closed or aborted")
    else:
        time.sleep(1.0)


def bad_arguments(comm: flexlink.Communicator) -> None:
    """Each is refused with a text that says what is wrong, nothing was sent."""
    good = numpy.ones((4, 4), "float32")
    frozen = good.copy()
    frozen.flags.writeable = False
    bad = flexlink.InvalidArgument
    expect(bad, lambda: comm.all_reduce(good[:, 1]), 1, "x is not C-contiguous")
    expect(bad, lambda: comm.all_reduce(frozen), 1, "x is read-only")
    expect(bad, lambda: comm.all_reduce(good, numpy.ones(3, "float32")), 1, "needs 16 × float32")
    expect(bad, lambda: comm.all_reduce(good, good.astype("float64")), 1, "16 × float64")
    expect(bad, lambda: comm.all_reduce([1.0, 2.0]), 1, "x is a list")
    expect(bad, lambda: comm.all_reduce(good.astype("complex64")), 1, "complex64 cannot be reduced")
    expect(bad, lambda: comm.all_reduce(good, op="xor"), 1, "op 'xor'")
    expect(bad, lambda: comm.all_reduce(good.astype("U3")), 1, "cannot be reduced")
    expect(bad, lambda: comm.broadcast(numpy.array([None])), 1, "Python objects")
    expect(bad, lambda: comm.broadcast(good, comm.size), 1, f"root {comm.size}")
    expect(bad, lambda: comm.send(good, -1), 1, "peer -1")
    expect(bad, lambda: comm.reduce_scatter(numpy.ones(3, "int8")), 1, "multiple of the 2 ranks")
    expect(bad, lambda: comm.all_gather(b"abc"), 1, "pass one with out=")
    expect(bad, lambda: comm.split(-3), 1, "color -3")
    expect(bad, lambda: comm.all_reduce(good.astype("int32"), op=flexlink.PreMulSum(0.5)), 1, "0.5")
    with comm.group():
        handle = comm.all_reduce(good, async_=True)
        expect(flexlink.InvalidUsage, handle.wait, 1, "part of a group")
    handle.wait(10)
    try:
        with comm.group():
            comm.all_reduce(good)
            raise KeyError("mine")
    except KeyError:
        pass  # the group was dropped on both ranks
    comm.barrier()
    assert (good == 2).all()


def main() -> None:
    """Entry of each rank."""
    comm = flexlink.init()
    globals()[sys.argv[1]](comm)


main()
