# SPDX-License-Identifier: Apache-2.0
"""What the GPU tests ask of the machine: a GPU, packages, the vendor's library."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).resolve().parent / "programs"
CUDA_SUCCESS = 0

Ranks = Callable[..., list[str]]


def no_gpu() -> str:
    """Why no GPU can be used here; "" where one can. Does not start CUDA in this process."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return str(error)
    count = (
        "import ctypes, sys; c = ctypes.CDLL('libcuda.so.1'); n = ctypes.c_int(); "
        "sys.exit(c.cuInit(0) or c.cuDeviceGetCount(ctypes.byref(n)) or (n.value == 0 and 100))"
    )
    status = subprocess.run([sys.executable, "-c", count], timeout=60).returncode
    return "" if status == CUDA_SUCCESS else f"cuInit and cuDeviceGetCount gave {status}"


def need(package: str) -> None:
    """Skips where a Python package is not installed."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def vendor_path() -> str:
    """The vendor's libnccl.so.2: FLEXLINK_NCCL_PATH, or that of the nvidia-nccl wheel."""
    named = os.environ.get("FLEXLINK_NCCL_PATH", "")
    spec = importlib.util.find_spec("nvidia")
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [str(Path(folder) / "nccl" / "lib" / "libnccl.so.2") for folder in folders]
    return named or next((path for path in found if Path(path).exists()), "")


def vendor_version(path: str) -> int:
    """ncclGetVersion of the library at `path`, which loads without a GPU."""
    number = ctypes.c_int()
    assert ctypes.CDLL(path).ncclGetVersion(ctypes.byref(number)) == 0
    return number.value


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
