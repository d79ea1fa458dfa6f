# SPDX-License-Identifier: Apache-2.0
"""Finds address, count and type of what a caller hands us: NumPy, DLPack, the buffer protocol.

Pure reading: no copy, no conversion, no communication. Host memory only.
"""

from __future__ import annotations

import ctypes
import math
import operator
import struct
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from flexlink._native import check, native
from flexlink.errors import InvalidArgument


class DataType(NamedTuple):
    """An element type: `code` is its ncclDataType_t, None where it can be moved but not reduced."""

    name: str
    code: int | None
    size: int


class View(NamedTuple):
    """A caller's memory. `owner` must live as long as `pointer` is used."""

    pointer: Any
    count: int
    type: DataType
    shape: tuple[int, ...]
    owner: object


_SIZES = {
    "int8": 1, "uint8": 1, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8, "float16": 2,
    "float32": 4, "float64": 8, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1,
}  # fmt: skip - in the order of ncclDataType_t
TYPES = {name: DataType(name, code, size) for code, (name, size) in enumerate(_SIZES.items())}
UINT8 = TYPES["uint8"]
_SCALAR_FORMATS = {
    "int8": "b", "uint8": "B", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
    "float16": "e", "float32": "f", "float64": "d",
}  # fmt: skip - of the struct module

_HOST_DEVICES = (1, 3)  # DLPack: kDLCPU, and kDLCUDAHost, which is pinned host memory
_DLPACK_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}
_DLPACK_FLOAT8 = {10: "float8_e4m3fn", 12: "float8_e5m2"}
_DLPACK_READ_ONLY = 1

_numpy_types: dict[Any, DataType] = {}


def data_type(name: str, size: int) -> DataType:
    """The type called `name` of `size` bytes; one that only moves where NCCL has no such type."""
    return TYPES.get(name) or DataType(name, None, size)


def view(x: Any, role: str, writable: bool = False) -> View:
    """Describes the memory of `x`, a C-contiguous block on the host.

    Args:
        x: numpy array, object with `__dlpack__` (torch, ...) or with the buffer protocol.
        role: what the caller calls it ("x", "out"), for error texts.
        writable: whether the operation writes into it.
    Raises:
        InvalidArgument: not such an object, not contiguous, read-only, or not host memory.
    """
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(x, numpy.ndarray):
        return _view_numpy(x, role, writable)
    if hasattr(x, "__dlpack__"):
        return _view_dlpack(x, role, writable)
    return _view_buffer(x, role, writable)


def wire(x: View, reduces: bool) -> tuple[int, int]:
    """(ncclDataType_t, count) to send `x` as. Types that NCCL lacks travel as bytes.

    Raises:
        InvalidArgument: `reduces`, and NCCL has no arithmetic for the type.
    """
    if x.type.code is not None:
        return x.type.code, x.count
    if reduces:
        raise InvalidArgument(
            f"elements of type {x.type.name} cannot be reduced; these can: {', '.join(TYPES)}"
        )
    assert UINT8.code is not None
    return UINT8.code, x.count * x.type.size


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
    """A new uninitialised array of `shape` with the type of `x`: for NumPy arrays and tensors.

    Raises:
        InvalidArgument: nobody knows how to make one more of whatever `x` is.
    """
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(x, numpy.ndarray):
        return numpy.empty(shape, x.dtype)
    if hasattr(x, "new_empty"):
        return x.new_empty(tuple(shape))
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

    ffi, lib = native()
    kind = numpy.dtype(dtype)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    size = math.prod(shape) * kind.itemsize
    out = ffi.new("void**")
    check(lib.ncclMemAlloc(out, max(size, 1)))
    owned = ffi.gc(out[0], lib.ncclMemFree)
    return numpy.frombuffer(ffi.buffer(owned, max(size, 1)), "uint8", size).view(kind).reshape(shape)


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
    return View(pointer, memory.nbytes // kind.size, kind, tuple(memory.shape), memory)


def _format_type(format_: str, size: int) -> DataType:
    """Type of a struct-module format such as "f" or "<l"; foreign byte order only moves."""
    letter = format_.lstrip("@=<" if sys.byteorder == "little" else "@=>!")
    for letters, kind in (("bhilqn", "int"), ("BHILQNc", "uint"), ("efd", "float")):
        if len(letter) == 1 and letter in letters:
            return data_type(f"{kind}{8 * size}", size)
    return DataType("bool" if letter == "?" else f"format {format_!r}", None, size)


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("id", ctypes.c_int32))


class _Type(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


def _capsule_pointer(capsule: Any, name: bytes) -> int | None:
    api = ctypes.pythonapi
    api.PyCapsule_IsValid.argtypes = (ctypes.py_object, ctypes.c_char_p)
    if not api.PyCapsule_IsValid(capsule, name):
        return None
    api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    address: int | None = api.PyCapsule_GetPointer(capsule, name)
    return address


def _open_capsule(capsule: Any, role: str) -> tuple[_Tensor, bool]:
    """(tensor, read-only) of a DLPack capsule of either generation; the capsule stays the owner."""
    address = _capsule_pointer(capsule, b"dltensor_versioned")
    if address is not None:
        managed = _Versioned.from_address(address)
        if managed.major != 1:
            raise InvalidArgument(
                f"{role} speaks DLPack {managed.major}.{managed.minor}; versions 0 and 1 are known"
            )
        return managed.tensor, bool(managed.flags & _DLPACK_READ_ONLY)
    address = _capsule_pointer(capsule, b"dltensor")
    if address is None:
        raise InvalidArgument(f"{role}.__dlpack__() did not return a DLPack capsule")
    return _Tensor.from_address(address), False


def _export_dlpack(x: Any, role: str) -> Any:
    device = tuple(int(part) for part in x.__dlpack_device__())
    if device[0] not in _HOST_DEVICES:
        raise InvalidArgument(
            f"{role} lives on DLPack device {device}; this version communicates host memory: "
            "pass a copy on the CPU"
        )
    try:
        try:
            return x.__dlpack__(max_version=(1, 0))
        except TypeError:  # an exporter from before DLPack 1.0
            return x.__dlpack__()
    except (BufferError, RuntimeError, ValueError) as error:
        raise InvalidArgument(f"{role} cannot be shared through DLPack: {error}") from error


def _view_dlpack(x: Any, role: str, writable: bool) -> View:
    ffi, _ = native()
    capsule = _export_dlpack(x, role)
    tensor, read_only = _open_capsule(capsule, role)
    if writable and read_only:
        raise _read_only(role)
    shape = tuple(tensor.shape[: tensor.ndim])
    if tensor.strides and not _contiguous(shape, tensor.strides[: tensor.ndim]):
        raise _not_contiguous(role)
    kind = _dlpack_type(tensor.dtype, role)
    pointer = ffi.cast("char*", (tensor.data or 0) + tensor.byte_offset)
    return View(pointer, math.prod(shape), kind, shape, (x, capsule))


def _contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether strides (in elements) are those of a C-ordered block; extents of 1 do not matter."""
    expected = 1
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        if extent > 1 and stride != expected:
            return math.prod(shape) == 0
        expected *= extent
    return True


def _dlpack_type(dtype: _Type, role: str) -> DataType:
    bits = dtype.bits * dtype.lanes
    if bits == 0 or bits % 8:
        raise InvalidArgument(f"{role} has elements of {bits} bits; whole bytes can be sent")
    if dtype.lanes != 1:
        return DataType(f"a vector of {dtype.lanes}", None, bits // 8)
    if dtype.code in _DLPACK_FLOAT8:
        return data_type(_DLPACK_FLOAT8[dtype.code], 1)
    kind = _DLPACK_KINDS.get(dtype.code, f"dlpack{dtype.code}_")
    return data_type("bool" if kind == "bool" else f"{kind}{bits}", bits // 8)
