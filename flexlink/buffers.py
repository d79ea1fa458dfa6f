# SPDX-License-Identifier: Apache-2.0
"""Finds address, count and type of what a caller hands us: NumPy, DLPack, CUDA, plain buffers.

Pure reading: no copy, no conversion, no communication.
"""

from __future__ import annotations

import math
import operator
import struct
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from flexlink import dlpack
from flexlink._native import check, library, native
from flexlink.errors import InvalidArgument
from flexlink.exported import Exported


class DataType(NamedTuple):
    """An element type: `code` is its ncclDataType_t, None where it can be moved but not reduced."""

    name: str
    code: int | None
    size: int


class View(NamedTuple):
    """A caller's memory. `owner` must live as long as `pointer` is used.

    stream: for memory of CUDA, the stream on which it is used; None for host memory.
    """

    pointer: Any
    elements: int
    type: DataType
    shape: tuple[int, ...]
    owner: object
    stream: int | None = None


# In the order of ncclDataType_t.
_NAMES = [
    "int8",
    "uint8",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
]
_SIZES = (1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1)
TYPES = {
    name: DataType(name, code, size)
    for code, (name, size) in enumerate(zip(_NAMES, _SIZES, strict=True))
}
UINT8 = TYPES["uint8"]
_SCALAR_FORMATS = dict(zip(_NAMES, "bBiIqQefd", strict=False))  # of the struct module

_numpy_types: dict[Any, DataType] = {}


def data_type(name: str, size: int) -> DataType:
    """The type called `name` of `size` bytes; one that only moves where NCCL has no such type."""
    return TYPES.get(name) or DataType(name, None, size)


def view(x: Any, role: str, writable: bool = False) -> View:
    """Describes the memory of `x`, a C-contiguous block.

    Args:
        x: numpy array, object with `__dlpack__` (torch, CuPy, ...), with
            `__cuda_array_interface__` or with the buffer protocol.
        role: what the caller calls it ("x", "out"), for error texts.
        writable: whether the operation writes into it.
    Raises:
        InvalidArgument: not such an object, not contiguous, read-only, or on another device.
    """
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(x, numpy.ndarray):
        return _view_numpy(x, role, writable)
    if hasattr(x, "__dlpack__"):
        return _view_exported(dlpack.read(x, role), role, writable)
    if hasattr(x, "__cuda_array_interface__"):
        from flexlink import cuda

        return _view_exported(cuda.read(x, role), role, writable)
    return _view_buffer(x, role, writable)


def wire(x: View, reduces: bool) -> tuple[int, int]:
    """(ncclDataType_t, count) to send `x` as. Types that NCCL lacks travel as bytes.

    Raises:
        InvalidArgument: `reduces`, and NCCL has no arithmetic for the type.
    """
    if x.type.code is not None:
        return x.type.code, x.elements
    if reduces:
        raise InvalidArgument(
            f"elements of type {x.type.name} cannot be reduced; these can: {', '.join(TYPES)}"
        )
    assert UINT8.code is not None
    return UINT8.code, x.elements * x.type.size


def scalar_bytes(value: float, kind: DataType) -> bytes:
    """`value` as one little-endian element of `kind`, rounded once.

    Raises:
        InvalidArgument: `kind` cannot hold it, or is an 8-bit float.
    """
    if kind.name == "bfloat16":
        bits = struct.unpack("<I", struct.pack("<f", value))[0]
        return struct.pack("<H", (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
    letter = _SCALAR_FORMATS.get(kind.name)
    if letter is None:
        raise InvalidArgument(f"PreMulSum has no factors of type {kind.name}")
    try:
        return struct.pack("<" + letter, value if letter in "efd" else operator.index(value))  # type: ignore[arg-type]
    except (struct.error, OverflowError, TypeError) as error:
        raise InvalidArgument(f"PreMulSum({value!r}) is no {kind.name}: {error}") from error


def empty_like(x: Any, shape: Sequence[int]) -> Any:
    """A new uninitialised array of `shape` with the type of `x`: of NumPy, torch or CuPy.

    Raises:
        InvalidArgument: nobody knows how to make one more of whatever `x` is.
    """
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(x, numpy.ndarray):
        return numpy.empty(shape, x.dtype)
    if hasattr(x, "new_empty"):
        return x.new_empty(tuple(shape))
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(x, cupy.ndarray):
        return cupy.empty(shape, x.dtype)
    raise InvalidArgument(
        f"cannot make a result array for a {type(x).__name__}: pass one with out="
    )


def empty(shape: int | Sequence[int], dtype: Any = "float32") -> Any:
    """A new NumPy array in memory that the ranks of one host share without a copy (ncclMemAlloc).

    Its content is undefined. The memory is given back when the last view of it is gone.

    Args:
        shape: as for numpy.empty.
        dtype: anything that numpy.dtype takes.
    """
    import numpy

    from flexlink.handle import may_take_cuda

    ffi, lib = native()[0], library("host" if may_take_cuda() else None)
    kind = numpy.dtype(dtype)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    size = math.prod(shape) * kind.itemsize
    out = ffi.new("void**")
    check(lib.ncclMemAlloc(out, max(size, 1)))
    owned = ffi.gc(out[0], lib.ncclMemFree)
    return (
        numpy.frombuffer(ffi.buffer(owned, max(size, 1)), "uint8", size).view(kind).reshape(shape)
    )


def _refuse_layout(role: str, what: str, remedy: str) -> InvalidArgument:
    return InvalidArgument(f"{role} is {what}; {remedy}")


def _not_contiguous(role: str) -> InvalidArgument:
    return _refuse_layout(
        role, "not C-contiguous", "pass a contiguous copy (numpy.ascontiguousarray, .contiguous())"
    )


def _read_only(role: str) -> InvalidArgument:
    return _refuse_layout(role, "read-only and the operation writes into it", "pass a copy")


def _view_numpy(x: Any, role: str, writable: bool) -> View:
    ffi, _ = native()
    flags = x.flags
    if not flags.c_contiguous:
        raise _not_contiguous(role)
    if writable and not flags.writeable:
        raise _read_only(role)
    kind = _numpy_types.get(x.dtype) or _numpy_type(x.dtype, role)
    try:
        pointer = ffi.from_buffer(x)
    except (BufferError, TypeError, ValueError):
        # bfloat16 and fp8 are strangers to the buffer protocol; their bytes are not.
        pointer = ffi.from_buffer(x.reshape(-1).view("uint8"))
    return View(pointer, x.size, kind, x.shape, x)


def _numpy_type(dtype: Any, role: str) -> DataType:
    if dtype.hasobject:
        raise InvalidArgument(f"{role} holds Python objects ({dtype}), which cannot be sent")
    found = data_type(dtype.name if dtype.isnative else dtype.str, dtype.itemsize)
    _numpy_types[dtype] = found
    return found


def _view_buffer(x: Any, role: str, writable: bool) -> View:
    ffi, _ = native()
    try:
        memory = memoryview(x)
    except TypeError:
        raise InvalidArgument(
            f"{role} is a {type(x).__name__}; pass a NumPy array, an object with __dlpack__ "
            "(a CPU tensor) or one with the buffer protocol"
        ) from None
    if not memory.c_contiguous:
        raise _not_contiguous(role)
    if writable and memory.readonly:
        raise _read_only(role)
    kind = _format_type(memory.format, memory.itemsize)
    pointer = ffi.from_buffer(memory)
    return View(pointer, memory.nbytes // kind.size, kind, tuple(memory.shape or ()), memory)


def _format_type(format_: str, size: int) -> DataType:
    """Type of a struct-module format such as "f" or "<l"; foreign byte order only moves."""
    letter = format_.lstrip("@=<" if sys.byteorder == "little" else "@=>!")
    for letters, kind in (("bhilqn", "int"), ("BHILQNc", "uint"), ("efd", "float")):
        if len(letter) == 1 and letter in letters:
            return data_type(f"{kind}{8 * size}", size)
    return DataType("bool" if letter == "?" else f"format {format_!r}", None, size)


def _view_exported(found: Exported, role: str, writable: bool) -> View:
    ffi, _ = native()
    if writable and found.read_only:
        raise _read_only(role)
    if not found.contiguous:
        raise _not_contiguous(role)
    pointer = ffi.cast("char*", found.address)
    kind = data_type(found.type_name, found.type_size)
    return View(pointer, math.prod(found.shape), kind, found.shape, found.owner, found.stream)
