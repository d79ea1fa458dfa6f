# SPDX-License-Identifier: Apache-2.0
"""CuPy's own binding of NCCL at world size 1. Prints the version that it sees, then "done"."""

from __future__ import annotations

import cupy
from cupy.cuda import nccl

TYPES = {"int8": nccl.NCCL_INT8, "int32": nccl.NCCL_INT32, "float16": nccl.NCCL_FLOAT16,
         "float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}  # fmt: skip

comm = nccl.NcclCommunicator(1, nccl.get_unique_id(), 0)
stream = cupy.cuda.Stream(non_blocking=True)
with stream:
    for name, code in TYPES.items():
        x = (cupy.arange(4096) % 7).astype(name)
        out = cupy.zeros_like(x)
        for op in (nccl.NCCL_SUM, nccl.NCCL_MIN, nccl.NCCL_MAX):
            out.fill(0)
            comm.allReduce(x.data.ptr, out.data.ptr, x.size, code, op, stream.ptr)
            stream.synchronize()
            assert bool((x == out).all()), f"{name} {op}"
        out.fill(0)
        comm.allGather(x.data.ptr, out.data.ptr, x.size, code, stream.ptr)
        stream.synchronize()
        assert bool((x == out).all()), name
comm.destroy()
print("version", nccl.get_version())
print("done")
