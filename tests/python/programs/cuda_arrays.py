# SPDX-License-Identifier: Apache-2.0
"""One rank whose calls pass through to a library for CUDA, on arrays that say they are CUDA's."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy
from cuda_common import beside_host_memory, communicate, refused

import flexlink
from flexlink.cuda import in_this_context
from flexlink.handle import takes_cuda


class Device:
    """A NumPy array as `__cuda_array_interface__` shows one; the "GPU" is this host's memory."""

    def __init__(self, content: Any) -> None:
        self.content = numpy.ascontiguousarray(content)
        base = self.content.__array_interface__
        self.__cuda_array_interface__ = {
            "data": base["data"], "shape": base["shape"], "typestr": base["typestr"],
            "strides": None, "version": 3, "stream": None,
        }  # fmt: skip

    def holds(self, content: Any) -> None:
        assert numpy.array_equal(self.content, content), (self.content[:8], content)


assert takes_cuda()
driver = ctypes.CDLL("libcuda.so.1")
driver.cuCtxSetCurrent(ctypes.c_void_p(0x77))  # this thread's device
seen = ctypes.c_void_p()
helper = threading.Thread(
    target=in_this_context(lambda: driver.cuCtxGetCurrent(ctypes.byref(seen)))
)
helper.start()
helper.join()
assert seen.value == 0x77
given = ctypes.c_int.in_dll(driver, "hostCudaContextsSet")
before = given.value
with flexlink.init() as comm:
    assert given.value == before + 1  # the thread in which the communicator was made
    rank, size = comm.rank, comm.size
    ranks = numpy.arange(size)
    communicate(comm, Device, 1000)
    x = Device(numpy.full((2, 3), rank))
    moved = Device(numpy.full(5, rank, "<i2"))  # a type that NCCL only moves
    comm.broadcast(moved, root=size - 1)
    moved.holds(numpy.full(5, size - 1))
    scaled = Device(numpy.ones(3, "float32"))
    comm.all_reduce(scaled, op=flexlink.PreMulSum(0.5 * (rank + 1)))
    scaled.holds(numpy.full(3, 0.5 * (ranks + 1).sum(), "float32"))
    comm.barrier(async_=True).wait(timeout=20)
    refused(lambda: comm.all_gather(x, numpy.ones((2 * size, 3), "int64")), "lies in host memory")
    refused(lambda: comm.all_gather(x), "cannot make a result array for a Device")
    beside_host_memory(comm, Device)
print("done", rank)
