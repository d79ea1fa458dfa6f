# SPDX-License-Identifier: Apache-2.0
"""Names that the Python tests share with their fixtures in tests/conftest.py."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

PROGRAMS = Path(__file__).resolve().parent / "programs"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def make_thread_gpus(folder: Path) -> dict[str, str]:
    """The environment of communicators of our own on GPUs that are threads (tests/fake_cuda)."""
    tests = PROGRAMS.parent.parent
    sources = [
        str(tests / "fake_cuda" / f"{name}.cc")
        for name in ("thread_gpu", "thread_gpu_api", "cuda_cpu_kernels")
    ]
    flags = ["-std=c++20", "-O1", "-shared", "-fPIC", "-ffp-contract=off", "-pthread"]
    flags.append("-Wl,-soname,libcuda.so.1")  # so that whoever has opened it by path has it by name
    includes = [f"-I{tests}", f"-I{tests.parent / 'native' / 'src'}"]
    library = folder / "libcuda.so.1"
    subprocess.run(
        ["c++", *flags, *includes, *sources, "-o", str(library)], check=True, timeout=100
    )
    return {
        "LD_LIBRARY_PATH": str(folder),
        "FLEXLINK_DEVICE": "cuda",
        "FLEXLINK_PASS_THROUGH": "0",
        "FLEXLINK_CUDA_KERNELS": str(library),  # any file: these GPUs have kernels of their own
    }


def make_host_cuda(folder: Path) -> Path:
    """Makes programs/host_cuda.c the libcuda.so.1 of `folder`, which it returns."""
    command = ["cc", "-std=gnu11", "-Wall", "-Werror", "-shared", "-fPIC", "-O1"]
    source, output = PROGRAMS / "host_cuda.c", folder / "libcuda.so.1"
    subprocess.run([*command, str(source), "-o", str(output), "-ldl"], check=True, timeout=60)
    return folder
