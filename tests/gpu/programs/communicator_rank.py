# SPDX-License-Identifier: Apache-2.0
"""flexlink.Communicator at world size 1 on CUDA arrays of argv[1]: torch or cupy. Prints "done"."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import flexlink
from flexlink.handle import takes_cuda

package = sys.argv[1]
xp: Any = importlib.import_module(package)
TYPES = ("int8", "uint8", "int32", "int64", "float16", "float32", "float64", "bfloat16")


def numbers(kind: str) -> Any:
    if package == "torch":
        return (xp.arange(4096, device="cuda") % 7).to(getattr(xp, kind))
    return (xp.arange(4096) % 7).astype(kind)


def same(one: Any, other: Any) -> None:
    assert bool((one == other).all()), (one[:8], other[:8])


def on_another_stream() -> Any:
    return xp.cuda.stream(xp.cuda.Stream()) if package == "torch" else xp.cuda.Stream()


assert takes_cuda(), "calls do not pass through: is the vendor's library found?"
with flexlink.Communicator.connect(flexlink.unique_id(), 0, 1) as comm, on_another_stream():
    for kind in TYPES:
        if package == "cupy" and kind == "bfloat16":
            continue
        x = numbers(kind)
        for op in ("sum", "min", "max", "prod"):
            comm.all_reduce(x, op=op)
            same(x, numbers(kind))
    x = numbers("float32")
    same(comm.all_gather(x), x)
    handle = comm.reduce_scatter(x, async_=True)
    same(handle.wait(timeout=30), x)
    comm.all_reduce(x, op=flexlink.PreMulSum(2.0))
    same(x, 2 * numbers("float32"))
    comm.barrier()
    try:
        comm.all_reduce(bytearray(8))
    except flexlink.InvalidArgument as error:
        assert "lies in host memory" in str(error), error
    else:
        raise AssertionError("host memory was handed to NCCL")
print("done")
