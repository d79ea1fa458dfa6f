# SPDX-License-Identifier: Apache-2.0
"""Handles, time limits, the GIL and Ctrl-C while a rank waits for one that comes late. 2 ranks."""

import _thread
import threading
import time

import numpy

import flexlink


def handles(comm: flexlink.Communicator) -> None:
    """done() and wait(timeout) say unfinished until the late rank has come; then the result."""
    x = numpy.full(5, comm.rank + 1, "int32")
    if comm.rank == 1:
        time.sleep(0.5)
        comm.all_reduce(x)
        return
    handle = comm.all_reduce(x, async_=True)
    assert not handle.done()
    try:
        handle.wait(timeout=0.05)
    except flexlink.TimeoutError_ as error:
        assert "not finished after 0.05 s" in str(error)
        assert isinstance(error, TimeoutError)
    else:
        raise AssertionError("the handle claims to be finished")
    assert handle.wait(timeout=30) is x
    assert handle.done()
    assert handle.wait() is x
    assert (x == 3).all()


def released(comm: flexlink.Communicator) -> None:
    """Another Python thread runs on while this one blocks in a collective."""
    if comm.rank == 1:
        time.sleep(0.5)
        comm.barrier()
        return
    ticks = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.01)

    thread = threading.Thread(target=tick)
    thread.start()
    before = len(ticks)
    comm.barrier()
    during = len(ticks) - before
    stop.set()
    thread.join()
    assert during > 10, during


def interrupted(comm: flexlink.Communicator) -> None:
    """Ctrl-C ends the wait within a second; the operation itself goes on and finishes."""
    x = numpy.ones(1000, "float32")
    if comm.rank == 1:
        time.sleep(1.5)
        comm.all_reduce(x)
        comm.barrier()
        return
    threading.Timer(0.3, _thread.interrupt_main).start()
    start = time.monotonic()
    try:
        comm.all_reduce(x)
    except KeyboardInterrupt:
        assert time.monotonic() - start < 1.2
    else:
        raise AssertionError("Ctrl-C did not get through")
    comm.barrier()
    assert (x == 2).all()


def many(comm: flexlink.Communicator) -> None:
    """A thousand asynchronous operations whose arrays nobody else holds."""
    handles = [comm.all_reduce(numpy.full(64, step, "int64"), async_=True) for step in range(1000)]
    for step, handle in enumerate(handles):
        assert (handle.wait(30) == 2 * step).all()


def main() -> None:
    """Entry of each rank."""
    with flexlink.init() as comm:
        handles(comm)
        released(comm)
        interrupted(comm)
        many(comm)
        late = comm.all_reduce(numpy.ones(3, "float32"), async_=True)
    assert (late.wait() == 2).all()  # closing waited for it
    try:
        comm.barrier()
    except flexlink.InvalidUsage as error:
        assert "closed or aborted" in str(error)
    else:
        raise AssertionError("a closed communicator works")


main()
