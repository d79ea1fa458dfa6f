# SPDX-License-Identifier: Apache-2.0
"""flexlink.Communicator on CUDA arrays: calls pass through on the stream of the array's library."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from gpu_support import PROGRAMS, need

pytestmark = pytest.mark.timeout(150)


@pytest.mark.parametrize("package", ["torch", "cupy"])
def test_arrays_are_communicated_on_their_own_stream(vendor: str, package: str) -> None:
    need(package)
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / "communicator_rank.py"), package],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "FLEXLINK_NCCL_PATH": vendor, "FLEXLINK_DEVICE": "cuda"},
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stdout + done.stderr
