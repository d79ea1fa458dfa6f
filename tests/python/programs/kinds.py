# SPDX-License-Identifier: Apache-2.0
"""Buffers of every kind through the wire; argument: the kind. 2 ranks."""

import array
import ctypes
import sys

import numpy

import flexlink


def check_numpy(comm: flexlink.Communicator) -> None:
    """All of NCCL's types that NumPy has; others only move; shapes and empty arrays."""
    names = ["int8", "uint8", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"]
    for name in names:
        x = numpy.arange(10, dtype=name)
        assert (comm.all_reduce(x) == 2 * numpy.arange(10)).all(), name
    for name in ("int16", "complex64", "bool", "datetime64[s]", "S5", ">f4"):
        x = numpy.arange(6).astype(name) if comm.rank == 0 else numpy.zeros(6, name)
        assert (comm.broadcast(x) == numpy.arange(6).astype(name)).all(), name
    assert comm.all_reduce(numpy.ones((0, 3), "float32")).shape == (0, 3)
    assert comm.all_gather(numpy.ones((0, 3), "float32")).shape == (0, 3)
    assert comm.all_reduce(numpy.array(4.0)) == 8.0
    record = numpy.zeros(2, [("a", "i4"), ("b", "f8")])
    record["b"] = comm.rank
    assert (comm.broadcast(record, 1)["b"] == 1).all()


def check_bfloat16(comm: flexlink.Communicator) -> None:
    """ml_dtypes' bfloat16 and fp8: sums of small integers are exact."""
    import ml_dtypes

    for kind in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2):
        x = numpy.arange(4).astype(kind)
        total = comm.all_reduce(x)
        assert total.dtype == kind
        assert (total.astype("float32") == 2 * numpy.arange(4)).all(), kind
    scaled = comm.all_reduce(numpy.arange(4).astype(ml_dtypes.bfloat16), op=flexlink.PreMulSum(0.5))
    assert (scaled.astype("float32") == numpy.arange(4)).all()


def check_bytes(comm: flexlink.Communicator) -> None:
    """bytes, bytearray, array.array, ctypes arrays, memoryview."""
    word = bytearray(b"hello" if comm.rank == 0 else b"-----")
    comm.broadcast(word)
    assert word == b"hello"
    numbers = array.array("d", [1.5, 2.5])
    comm.all_reduce(numbers)
    assert list(numbers) == [3.0, 5.0]
    integers = (ctypes.c_int32 * 3)(1, 2, 3)
    comm.all_reduce(integers)
    assert list(integers) == [2, 4, 6]
    target = bytearray(2 * 3)
    comm.all_gather(b"abc" if comm.rank == 0 else b"def", memoryview(target))
    assert target == b"abcdef"


def check_torch(comm: flexlink.Communicator) -> None:
    """CPU tensors of every type through DLPack; results are tensors; bad layouts are refused."""
    import torch

    kinds = [torch.int8, torch.uint8, torch.int32, torch.int64, torch.float16, torch.bfloat16]
    for kind in [*kinds, torch.float32, torch.float64]:
        x = torch.arange(6).to(kind)
        assert comm.all_reduce(x) is x
        assert torch.equal(x, 2 * torch.arange(6).to(kind)), kind
    row = torch.full((1, 3), float(comm.rank))
    both = comm.all_gather(row)
    assert torch.equal(both, torch.tensor([[0.0] * 3, [1.0] * 3]))
    for bad, words in (
        (torch.ones(4, 4).t(), "not C-contiguous"),
        (torch.ones(4, requires_grad=True), "detach"),
        (torch.ones(4, device="meta"), "DLPack"),
    ):
        try:
            comm.all_reduce(bad)
        except flexlink.InvalidArgument as error:
            assert words in str(error), str(error)
        else:
            raise AssertionError(words)
    comm.barrier()


def check_shared(comm: flexlink.Communicator) -> None:
    """flexlink.empty: memory that the ranks share; it outlives the communicator that used it."""
    x = flexlink.empty((3, 1000), "int32")
    assert x.shape == (3, 1000)
    assert x.ctypes.data % 4096 == 0
    x[:] = comm.rank + 1
    comm.all_reduce(x)
    assert (x == 3).all()
    row = x[1]
    del x
    comm.all_reduce(row)
    assert (row == 6).all()
    assert flexlink.empty(0).size == 0


def main() -> None:
    """Entry of each rank."""
    with flexlink.init() as comm:
        globals()[f"check_{sys.argv[1]}"](comm)


main()
