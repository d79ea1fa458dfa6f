# SPDX-License-Identifier: Apache-2.0
"""flexlink_perf --device cuda: refused where there is no GPU, whole on a libcuda of host memory.

programs/host_cuda.c stands for the driver, so that the ways of buffers, streams, GPU numbers and
checks are those of a GPU; the library itself works on host memory below it.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from pathlib import Path

import pytest
from support import make_host_cuda

from flexlink._native import library_path
from flexlink.perf import find_program

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a libcuda.so.1 that host_cuda.c makes."""
    return make_host_cuda(tmp_path_factory.mktemp("driver"))


def perf(*words: str, driver: Path | None, **environment: str) -> subprocess.CompletedProcess[str]:
    base = {**os.environ, "FLEXLINK_LIBRARY": str(library_path()), "FLEXLINK_DEVICE": "host"}
    base["LD_LIBRARY_PATH"] = str(driver or "")
    return subprocess.run(
        [find_program(), *words, "--device", "cuda"],
        capture_output=True,
        text=True,
        timeout=100,
        env={**base, **environment},
        stdin=subprocess.DEVNULL,
    )


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def devices(text: str) -> list[str]:
    """What stands behind each rank's "device"."""
    return [line.split(" device ")[1].strip() for line in text.splitlines() if " Group " in line]


def without_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return True
    return False


def test_without_a_driver_it_says_what_it_tried_and_what_runs_instead() -> None:
    done = perf("all_reduce", "--ranks", "2", driver=None)
    assert (done.returncode, done.stdout) == (1, "")
    if without_driver():
        assert done.stderr == (
            "flexlink_perf: --device cuda: the CUDA driver cannot be opened: libcuda.so.1: cannot "
            "open shared object file: No such file or directory; it comes with NVIDIA's driver. "
            "flexlink doctor says what is missing; without --device the same runs on host memory\n"
        )


def test_a_driver_that_sees_no_gpu_is_quoted(driver: Path) -> None:
    done = perf("all_reduce", driver=driver, HOST_CUDA_GPUS="0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "flexlink_perf: --device cuda: cuInit: no CUDA-capable device is detected "
        "(CUDA_ERROR_NO_DEVICE, 100). "
        "flexlink doctor says what is missing; without --device the same runs on host memory\n"
    )


@pytest.mark.parametrize("collective", ["all_reduce", "all_gather", "reduce_scatter", "broadcast"])
def test_every_element_is_checked_through_the_driver(driver: Path, collective: str) -> None:
    words = (collective, "-t", "2", "-g", "2", "-b", "96", "-e", "98304", "-f", "32", "-n", "2")
    done = perf(*words, "-c", "2", driver=driver)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# Out of bounds values : 0 OK\n" in done.stdout
    assert "CUDA, enqueued on one stream for each rank, buffers of cuMemAlloc\n" in done.stdout
    assert [(row[8], row[12]) for row in rows(done.stdout)] == [("0", "0")] * 3


def test_a_device_that_loses_a_bit_is_found_in_every_row(driver: Path) -> None:
    done = perf("all_reduce", "--ranks", "2", "-b", "1K", "-e", "2K", "-f", "2", "-n", "1",
                driver=driver, HOST_CUDA_SPOIL="1")  # fmt: skip
    assert done.returncode == 1
    # Out of place each rank's send and receive buffer lose one, in place the one buffer.
    assert [(row[8], row[12]) for row in rows(done.stdout)] == [("4", "2")] * 2


def test_ranks_take_gpus_in_turn_and_name_them(driver: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = perf("all_reduce", "--ranks", "3", "-b", "64", "-e", "64", "-n", "1", "-J", str(report),
                driver=driver)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = ("0 [0001:40:00] Host memory as GPU 0", "1 [0001:41:00] Host memory as GPU 1")
    assert devices(done.stdout) == [first, second, first]
    listed = json.loads(report.read_text())["devices"]
    assert [(d["device"], d["device_hex"], d["device_info"]) for d in listed] == [
        (0, "0001:40:00", "Host memory as GPU 0"),
        (1, "0001:41:00", "Host memory as GPU 1"),
        (0, "0001:40:00", "Host memory as GPU 0"),
    ]


def test_with_nccl_tests_device_every_process_counts_from_there(driver: Path) -> None:
    words = ("all_reduce", "--ranks", "2", "-g", "2", "-b", "64", "-e", "64", "-n", "1")
    done = perf(*words, driver=driver, NCCL_TESTS_DEVICE="1", HOST_CUDA_GPUS="4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [text.split()[0] for text in devices(done.stdout)] == ["1", "2", "1", "2"]


def test_ranks_of_a_launcher_exchange_results_through_the_devices(driver: Path) -> None:
    words = ("all_reduce", "-b", "4K", "-e", "4K", "-n", "2")
    common = {"WORLD_SIZE": "2", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "perf-cuda"}
    base = {**os.environ, "FLEXLINK_LIBRARY": str(library_path()), "FLEXLINK_DEVICE": "host",
            "LD_LIBRARY_PATH": str(driver), **common}  # fmt: skip
    ranks = [
        subprocess.Popen(
            [find_program(), *words, "--device", "cuda"], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env={**base, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    output = [rank.communicate(timeout=90)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], output
    assert [(row[8], row[12]) for row in rows(output[0])] == [("0", "0")]
    assert [text.split()[0] for text in devices(output[0])] == ["0", "1"]


def test_ours_and_a_library_loaded_directly_run_side_by_side(driver: Path, tmp_path: Path) -> None:
    copy = tmp_path / "libnccl-copy.so"
    copy.write_bytes(library_path().read_bytes())
    done = perf("all_reduce", "--ranks", "1", "-b", "1K", "-e", "1K", "--rounds", "3", "-n", "2",
                "--vs", str(copy), "--csv", driver=driver)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    header, row = (line.split(",") for line in rows_of_csv(done.stdout))
    found = dict(zip(header, row, strict=True))
    assert (found["peer"], found["ours_wrong"], found["theirs_wrong"]) == (str(copy), "0", "0")
    assert "3 interleaved rounds; CUDA, enqueued on one stream for each rank" in done.stdout


def rows_of_csv(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--vs", "gloo"], "--vs takes its path, not a peer's name"),
        (["--async"], "--device cuda always enqueues"),
        (["-G", "1"], "-G (CUDA graphs) is not measured here"),
    ],
)
def test_what_cannot_be_measured_is_refused(words: list[str], part: str) -> None:
    done = perf("all_reduce", *words, driver=None)
    assert done.returncode == 2
    assert part in done.stderr
