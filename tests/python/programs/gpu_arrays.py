# SPDX-License-Identifier: Apache-2.0
"""One rank whose communicators are our own on a GPU, on arrays in memory that no CPU reaches."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy
from cuda_common import beside_host_memory, communicate

import flexlink
from flexlink.handle import takes_cuda

driver = ctypes.CDLL("libcuda.so.1")


def call(name: str, *arguments: Any) -> None:
    code = getattr(driver, name)(*arguments)
    assert code == 0, f"{name} gave {code}"


class Array:
    """A copy of a NumPy array on the GPU, as `__cuda_array_interface__` shows one."""

    def __init__(self, content: Any) -> None:
        self.like = numpy.ascontiguousarray(content)
        self.address = ctypes.c_uint64()
        call("cuMemAlloc_v2", ctypes.byref(self.address), ctypes.c_size_t(self.like.nbytes))
        self._copy(self.address, ctypes.c_void_p(self.like.ctypes.data))
        self.__cuda_array_interface__ = {
            "data": (self.address.value, False), "shape": self.like.shape,
            "typestr": self.like.dtype.str, "strides": None, "version": 3, "stream": None,
        }  # fmt: skip

    def _copy(self, to: Any, source: Any) -> None:
        call("cuMemcpyAsync", to, source, ctypes.c_size_t(self.like.nbytes), None)
        call("cuStreamSynchronize", None)

    def holds(self, content: Any) -> None:
        found = numpy.empty_like(self.like)
        self._copy(ctypes.c_void_p(found.ctypes.data), self.address)
        assert numpy.array_equal(found, content), (found, content)


call("cuInit", 0)
context = ctypes.c_void_p()
call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
call("cuCtxSetCurrent", context)
assert takes_cuda()
with flexlink.init() as comm:
    rank = comm.rank
    communicate(comm, Array, 100_000)
    half = comm.split(rank % 2)
    assert half is not None
    y = Array(numpy.full(10, rank, "float64"))
    half.broadcast(y, root=0)
    y.holds(numpy.full(10, rank % 2))
    half.close()
    beside_host_memory(comm, Array)
with flexlink.init(device="cuda") as comm:
    communicate(comm, Array, 1000)
print("done", rank)
