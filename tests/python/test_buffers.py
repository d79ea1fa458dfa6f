# SPDX-License-Identifier: Apache-2.0
"""What buffers.view reads from each kind of object, without any communication."""

from __future__ import annotations

import array
import ctypes
from typing import Any

import ml_dtypes
import numpy
import pytest

from flexlink._native import native
from flexlink.buffers import TYPES, scalar_bytes, view, wire
from flexlink.errors import InvalidArgument


def address(x: Any) -> int:
    ffi, _ = native()
    return int(ffi.cast("uintptr_t", view(x, "x").pointer))


@pytest.mark.parametrize("name", list(TYPES))
def test_numpys_types_have_nccls_numbers(name: str) -> None:
    order = [
        "ncclInt8", "ncclUint8", "ncclInt32", "ncclUint32", "ncclInt64", "ncclUint64",
        "ncclFloat16", "ncclFloat32", "ncclFloat64", "ncclBfloat16", "ncclFloat8e4m3",
        "ncclFloat8e5m2",
    ]  # fmt: skip
    _, lib = native()
    dtype = numpy.dtype(getattr(ml_dtypes, name, name))
    x = numpy.zeros((2, 3), dtype)
    found = view(x, "x", writable=True)
    assert wire(found, reduces=True) == (getattr(lib, order[list(TYPES).index(name)]), 6)
    assert found.type.size == dtype.itemsize
    assert found.shape == (2, 3)
    assert address(x) == x.ctypes.data


def test_foreign_types_travel_as_bytes_and_do_not_reduce() -> None:
    _, lib = native()
    for dtype, size in (("int16", 2), ("complex128", 16), (">f4", 4), ("bool", 1), ("S3", 3)):
        found = view(numpy.zeros(5, dtype), "x")
        assert wire(found, reduces=False) == (lib.ncclUint8, 5 * size)
        with pytest.raises(InvalidArgument, match="cannot be reduced; these can: int8"):
            wire(found, reduces=True)


@pytest.mark.parametrize(
    ("x", "name", "count"),
    [
        (b"abcd", "uint8", 4),
        (bytearray(3), "uint8", 3),
        (array.array("q", [1, 2]), "int64", 2),
        (array.array("L", [1, 2]), "uint64", 2),
        (array.array("f", [1, 2]), "float32", 2),
        (array.array("h", [1, 2]), "int16", 2),
        ((ctypes.c_double * 4)(), "float64", 4),
        ((ctypes.c_bool * 4)(), "bool", 4),
        (memoryview(bytearray(12)).cast("i"), "int32", 3),
    ],
)
def test_the_buffer_protocol_is_read(x: Any, name: str, count: int) -> None:
    found = view(x, "x")
    assert (found.type.name, found.elements) == (name, count)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (b"frozen", "out is read-only"),
        (memoryview(bytearray(10))[::2], "out is not C-contiguous"),
        (numpy.zeros((3, 3))[:, 1], "out is not C-contiguous"),
        (numpy.zeros((3, 3), order="F"), "out is not C-contiguous"),
        (numpy.broadcast_to(numpy.zeros(1), (1,)), "out is read-only"),
        (numpy.array([object()]), "out holds Python objects"),
        (3.0, "out is a float"),
        (None, "out is a NoneType"),
    ],
)
def test_what_cannot_be_written_is_refused(x: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        view(x, "out", writable=True)


class Exporter:
    """Hands out a NumPy array's DLPack capsule under a device and a version of its own."""

    def __init__(self, x: Any, device: tuple[int, int] = (1, 0), old: bool = False) -> None:
        self.x, self.device, self.old = x, device, old

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **options: Any) -> Any:
        if self.old and options:
            raise TypeError("unexpected keyword argument")
        return self.x.__dlpack__(**options)


@pytest.mark.parametrize("old", [False, True])
def test_both_generations_of_dlpack_are_read(old: bool) -> None:
    x = numpy.arange(12, dtype="int32").reshape(3, 4)
    found = view(Exporter(x, old=old), "x", writable=True)
    assert (found.type.name, found.elements, found.shape) == ("int32", 12, (3, 4))
    assert address(Exporter(x, old=old)) == x.ctypes.data
    with pytest.raises(InvalidArgument, match="not C-contiguous"):
        view(Exporter(x[:, 1:], old=old), "x")


def test_memory_of_neither_the_host_nor_cuda_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"device \(10, 1\)"):
        view(Exporter(numpy.zeros(2), device=(10, 1)), "x")


def test_a_read_only_dlpack_array_is_not_written() -> None:
    x = numpy.zeros(3)
    x.flags.writeable = False
    with pytest.raises(InvalidArgument, match="x is read-only"):
        view(Exporter(x), "x", writable=True)
    assert view(Exporter(x), "x").elements == 3


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        (3, "int8", b"\x03"),
        (-1, "int32", b"\xff\xff\xff\xff"),
        (0.5, "float16", b"\x00\x38"),
        (0.1, "float32", numpy.float32(0.1).tobytes()),
        (0.1, "float64", numpy.float64(0.1).tobytes()),
        (1 + 2**-8, "bfloat16", b"\x80\x3f"),
        (1 + 3 * 2**-8, "bfloat16", b"\x82\x3f"),
        (float("inf"), "bfloat16", b"\x80\x7f"),
    ],
)
def test_factors_are_rounded_once_to_the_type(value: float, name: str, expected: bytes) -> None:
    assert scalar_bytes(value, TYPES[name]) == expected


@pytest.mark.parametrize(
    ("value", "name"), [(0.5, "int32"), (300, "uint8"), (-1, "uint64"), (1.0, "float8_e5m2")]
)
def test_factors_that_a_type_cannot_hold_are_refused(value: float, name: str) -> None:
    with pytest.raises(InvalidArgument, match="PreMulSum"):
        scalar_bytes(value, TYPES[name])
