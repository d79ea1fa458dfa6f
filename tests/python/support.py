# SPDX-License-Identifier: Apache-2.0
"""Names that the Python tests share with their fixtures in tests/conftest.py."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

PROGRAMS = Path(__file__).resolve().parent / "programs"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def make_host_cuda(folder: Path) -> Path:
    """Makes programs/host_cuda.c the libcuda.so.1 of `folder`, which it returns."""
    command = ["cc", "-std=gnu11", "-Wall", "-Werror", "-shared", "-fPIC", "-O1"]
    source, output = PROGRAMS / "host_cuda.c", folder / "libcuda.so.1"
    subprocess.run([*command, str(source), "-o", str(output), "-ldl"], check=True, timeout=60)
    return folder
