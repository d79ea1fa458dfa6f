# SPDX-License-Identifier: Apache-2.0
"""Reads the memory behind `__dlpack__`, both generations of capsule, on the host and on CUDA.

The capsule is never consumed: it stays the owner and frees the exporter's struct when it goes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from flexlink.errors import InvalidArgument
from flexlink.exported import Exported, is_contiguous

_HOST_DEVICES = (1, 3)  # DLPack: kDLCPU, and kDLCUDAHost, which is pinned host memory
_CUDA_DEVICES = (2, 13)  # kDLCUDA, kDLCUDAManaged
_NO_SYNCHRONISATION = -1  # the call goes to the stream on which the exporter works
_DLPACK_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}
_DLPACK_FLOAT8 = {10: "float8_e4m3fn", 12: "float8_e5m2"}
_DLPACK_READ_ONLY = 1


def read(x: Any, role: str) -> Exported:
    """Describes the memory of `x`, an object with `__dlpack__`; `role` names it in errors.

    Raises:
        InvalidArgument: another device than host or CUDA, an unknown version, or elements of odd
            bits.
    """
    on_cuda = _on_cuda(x, role)
    capsule = _export(x, role, {"stream": _NO_SYNCHRONISATION} if on_cuda else {})
    tensor, read_only = _open_capsule(capsule, role)
    shape = tuple(tensor.shape[: tensor.ndim])
    contiguous = not tensor.strides or is_contiguous(shape, tensor.strides[: tensor.ndim], 1)
    name, size = _element(tensor.dtype, role)
    address = (tensor.data or 0) + tensor.byte_offset
    stream = None
    if on_cuda:
        from flexlink.cuda import stream_of

        stream = stream_of(x)
    return Exported(address, shape, contiguous, name, size, read_only, (x, capsule), stream)


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


def _on_cuda(x: Any, role: str) -> bool:
    try:
        device = tuple(int(part) for part in x.__dlpack_device__())
    except ValueError as error:
        raise InvalidArgument(f"{role} lies where DLPack cannot name it: {error}") from error
    if device[0] not in (*_HOST_DEVICES, *_CUDA_DEVICES):
        raise InvalidArgument(
            f"{role} lives on DLPack device {device}; host memory and CUDA's can be communicated: "
            "pass a copy on the CPU"
        )
    return device[0] in _CUDA_DEVICES


def _export(x: Any, role: str, arguments: Mapping[str, int]) -> Any:
    try:
        try:
            return x.__dlpack__(max_version=(1, 0), **arguments)
        except TypeError:  # an exporter from before DLPack 1.0
            return x.__dlpack__(**arguments)
    except (BufferError, RuntimeError, ValueError) as error:
        raise InvalidArgument(f"{role} cannot be shared through DLPack: {error}") from error


def _element(dtype: _Type, role: str) -> tuple[str, int]:
    """(name, bytes) of one element."""
    bits = dtype.bits * dtype.lanes
    if bits == 0 or bits % 8:
        raise InvalidArgument(f"{role} has elements of {bits} bits; whole bytes can be sent")
    if dtype.lanes != 1:
        return f"a vector of {dtype.lanes}", bits // 8
    if dtype.code in _DLPACK_FLOAT8:
        return _DLPACK_FLOAT8[dtype.code], 1
    kind = _DLPACK_KINDS.get(dtype.code, f"dlpack{dtype.code}_")
    return "bool" if kind == "bool" else f"{kind}{bits}", bits // 8
