# SPDX-License-Identifier: Apache-2.0
"""What the GPU tests share: no test runs without a GPU, and each says what it lacks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from gpu_support import PROGRAMS, Ranks, free_port, no_gpu, vendor_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = no_gpu()
    for item in items:
        item.add_marker(pytest.mark.gpu)
        if reason:
            item.add_marker(pytest.mark.skip(reason=f"no GPU: {reason}"))


@pytest.fixture
def vendor() -> str:
    """The path of the vendor's library."""
    path = vendor_path()
    if not path:
        pytest.skip(
            "neither FLEXLINK_NCCL_PATH nor an nvidia-nccl wheel names the vendor's library"
        )
    return path


@pytest.fixture
def preloaded(vendor: str) -> Ranks:
    """preloaded("torch_rank.py", *words, ranks=1, env={}): what each rank printed, ours preloaded.

    Fails with everybody's output unless every rank ends with status 0 in time.
    """
    from flexlink._native import library_path

    def run(
        program: str,
        *words: str,
        ranks: int = 1,
        env: dict[str, str] | None = None,
        timeout: float = 100,
    ) -> list[str]:
        common = {
            **os.environ, "LD_PRELOAD": str(library_path()), "FLEXLINK_NCCL_PATH": vendor,
            "NCCL_DEBUG": "INFO", "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()), **(env or {}),
        }  # fmt: skip
        children = [
            subprocess.Popen(
                [sys.executable, str(PROGRAMS / program), *words], text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(ranks)
        ]  # fmt: skip
        try:
            output = [child.communicate(timeout=timeout)[0] for child in children]
        finally:
            for child in children:
                child.kill()
        statuses = [child.returncode for child in children]
        assert statuses == [0] * ranks, "\n\n".join(output)
        return output

    return run
