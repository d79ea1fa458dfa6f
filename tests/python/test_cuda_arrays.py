# SPDX-License-Identifier: Apache-2.0
"""CUDA arrays in Python: what they say of themselves, and the way of their calls, without a GPU.

The vendor is a second copy of the library from which the names of its host streams were taken, so
that it looks as NVIDIA's does; the driver is programs/host_cuda.c.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy
import pytest
from support import Run, make_host_cuda

import flexlink
from flexlink import cuda
from flexlink._native import library_path, native
from flexlink.buffers import view
from flexlink.errors import InvalidArgument

pytestmark = pytest.mark.timeout(120)


class Array:
    """An object with `__cuda_array_interface__` and nothing else."""

    def __init__(self, **told: Any) -> None:
        self.__cuda_array_interface__ = {
            "data": (4096, False), "shape": (2, 3), "typestr": "<f4", "version": 3, **told,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("typestr", "name", "size", "code"),
    [("<f4", "float32", 4, 7), ("<f2", "float16", 2, 6), ("<f8", "float64", 8, 8),
     ("|i1", "int8", 1, 0), ("|u1", "uint8", 1, 1), ("<i8", "int64", 8, 4), ("<u4", "uint32", 4, 3),
     ("<i2", "int16", 2, None), ("|b1", "bool", 1, None), ("<c8", "complex64", 8, None),
     (">f4", ">f4", 4, None), ("<V2", "<V2", 2, None)],
)  # fmt: skip
def test_an_arrays_type_is_read(typestr: str, name: str, size: int, code: int | None) -> None:
    found = view(Array(typestr=typestr), "x", writable=True)
    assert found.type == (name, code, size)
    assert (found.elements, found.shape, found.stream) == (6, (2, 3), 0)
    ffi, _ = native()
    assert int(ffi.cast("uintptr_t", found.pointer)) == 4096


@pytest.mark.parametrize(
    ("told", "stream"), [(None, 0), (1, 1), (2, 2), (0x7F0012345678, 0x7F0012345678)]
)
def test_the_stream_of_the_interface_is_taken(told: int | None, stream: int) -> None:
    assert view(Array(stream=told), "x").stream == stream


def test_strides_are_in_bytes_and_must_be_those_of_a_block() -> None:
    assert view(Array(strides=(12, 4)), "x").elements == 6
    assert view(Array(shape=(1, 3), strides=(999, 4)), "x").elements == 3
    assert view(Array(shape=(0, 3), strides=(4, 999), data=(0, False)), "x").elements == 0
    with pytest.raises(InvalidArgument, match="x is not C-contiguous"):
        view(Array(strides=(4, 8)), "x")


def test_what_cannot_be_used_is_refused() -> None:
    assert view(Array(data=(4096, True)), "x").elements == 6
    with pytest.raises(InvalidArgument, match="x is read-only"):
        view(Array(data=(4096, True)), "x", writable=True)
    with pytest.raises(InvalidArgument, match="x has a mask"):
        view(Array(mask=Array()), "x")
    with pytest.raises(InvalidArgument, match="it lacks data, shape or typestr"):
        view(Array(typestr="f"), "x")


class Exporter:
    """A DLPack exporter on CUDA device 0 that hands out a NumPy array's capsule."""

    def __init__(self, content: Any, device: tuple[int, int] = (2, 0)) -> None:
        self.content, self.device = content, device
        self.asked: list[dict[str, Any]] = []
        self.__cuda_array_interface__ = {"stream": 7}

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **arguments: Any) -> Any:
        self.asked.append(dict(arguments))
        arguments.pop("stream", None)
        return self.content.__dlpack__(**arguments)


def test_dlpack_on_cuda_is_not_asked_to_synchronise_and_keeps_its_stream() -> None:
    content = numpy.ones((2, 2), "float32")
    exporter = Exporter(content)
    found = view(exporter, "x")
    assert (found.stream, found.elements, found.type.name) == (7, 4, "float32")
    assert exporter.asked[-1]["stream"] == -1
    host = Exporter(content, (1, 0))
    assert view(host, "x").stream is None
    assert "stream" not in host.asked[-1]
    with pytest.raises(InvalidArgument, match=r"x lives on DLPack device \(10, 0\)"):
        view(Exporter(content, (10, 0)), "x")


def test_where_nothing_passes_through_a_cuda_array_is_refused() -> None:
    with flexlink.Communicator.connect(flexlink.unique_id(), 0, 1) as comm:
        with pytest.raises(InvalidArgument, match="lies in CUDA memory, and this communicator"):
            comm.all_reduce(Array())
        comm.barrier()
    if not Path("/proc/driver/nvidia/version").exists():
        with pytest.raises(flexlink.CudaError, match=r"needs the driver: libcuda\.so\.1"):
            cuda.CudaQueue().record(view(Array(), "x"))


@pytest.fixture(scope="module")
def like_nvidias(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which calls pass through to a library without host streams."""
    folder = tmp_path_factory.mktemp("vendor")
    library = folder / "libnccl-other.so.2"
    renamed = library_path().read_bytes().replace(b"\0flexlink", b"\0flexlonk")
    library.write_bytes(renamed)
    assert not hasattr(ctypes.CDLL(str(library)), "flexlinkStreamCreate")
    return {
        "LD_LIBRARY_PATH": str(make_host_cuda(folder)),
        "FLEXLINK_NCCL_PATH": str(library),
        "FLEXLINK_PASS_THROUGH": "1",
    }


@pytest.mark.parametrize("ranks", [1, 2])
def test_calls_on_cuda_arrays_go_to_the_vendor(
    flexlink_run: Run, run_program: Run, like_nvidias: dict[str, str], ranks: int
) -> None:
    done = run_program(ranks, "cuda_arrays.py", env=like_nvidias)
    assert sorted(done.stdout.split("\n")[:ranks]) == [
        f"[{rank}] done {rank}" for rank in range(ranks)
    ]
