# SPDX-License-Identifier: Apache-2.0
"""Communicators of our own on GPUs, from Python and by flexlink_perf: the GPUs are threads."""

from __future__ import annotations

import os
import subprocess

import pytest
from support import Run, make_thread_gpus

from flexlink._native import library_path
from flexlink.perf import find_program

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_thread_gpus(tmp_path_factory.mktemp("gpus"))


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_cuda_arrays_are_communicated(
    flexlink_run: Run, run_program: Run, gpus: dict[str, str], ranks: int
) -> None:
    done = run_program(ranks, "gpu_arrays.py", env={**gpus, "FAKE_GPUS": "1"})
    assert sorted(done.stdout.split("\n")[:ranks]) == [
        f"[{rank}] done {rank}" for rank in range(ranks)
    ]


@pytest.mark.parametrize("staging", ["gpu", "host"])
@pytest.mark.parametrize("collective", ["all_reduce", "all_gather", "reduce_scatter", "sendrecv"])
def test_every_element_is_right_between_ranks_on_one_gpu(
    gpus: dict[str, str], collective: str, staging: str
) -> None:
    words = (collective, "--ranks", "3", "-b", "96", "-e", "3M", "-f", "32", "-n", "2")
    done = subprocess.run(
        [find_program(), *words, "--device", "cuda"],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **gpus, "FLEXLINK_STAGING": staging, "NCCL_DEBUG": "INFO",
             "FLEXLINK_LIBRARY": str(library_path())},
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# Out of bounds values : 0 OK\n" in done.stdout
    words_of_lane = "through its memory" if staging == "gpu" else "copies by the device)"
    assert words_of_lane in done.stdout + done.stderr
