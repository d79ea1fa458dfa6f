# SPDX-License-Identifier: Apache-2.0
"""scripts/gpu-check without a GPU: what is not run says why, and no step stops another."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import PROGRAMS, make_thread_gpus

ROOT = PROGRAMS.parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import gpu_check  # noqa: E402
import gpu_steps  # noqa: E402
from gpu_check import Outcome, Record, Step  # noqa: E402

pytestmark = pytest.mark.timeout(60)

STEPS = [
    "venv",
    "package",
    "cpp",
    "doctor",
    "overhead",
    "python-tests",
    "cpp-tests",
    "torch",
    "own-lanes",
    "beside",
    "sanitizer",
]


def no_gpu() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return True
    return False


def run_script(tmp_path: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], Any]:
    report = tmp_path / "folder" / "result.json"
    done = subprocess.run(
        [str(ROOT / "scripts" / "gpu-check"), "--json", str(report), *words],
        capture_output=True,
        text=True,
        timeout=50,
    )
    return done, json.loads(report.read_text())


def test_a_dry_run_lists_every_step_and_runs_none(tmp_path: Path) -> None:
    done, report = run_script(tmp_path, "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [step["name"] for step in report["steps"]] == STEPS
    assert {step["status"] for step in report["steps"]} == {"not run"}
    assert all(step["reason"].startswith("dry run: ") for step in report["steps"])
    assert done.stdout.splitlines()[-2] == f"0 steps passed, 0 failed, {len(STEPS)} not run"


@pytest.mark.timeout(180)
@pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU: scripts/gpu-check itself runs")
def test_without_a_vendor_that_shares_a_gpu_our_own_lane_is_the_primary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On GPUs that are threads, whose rates say nothing."""
    for name, value in make_thread_gpus(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(gpu_steps, "FOLDER", tmp_path)
    check = gpu_steps.Check()
    check.bin = Path(sys.executable).parent
    check.large = "2M"
    outcome = check.beside(90, {"vendor": ""})
    assert outcome.status == gpu_steps.PASSED, outcome.reason
    assert outcome.figures["primary"] == "our memory lane"
    assert outcome.figures["vendor,memory: gain"] > 0


@pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU: scripts/gpu-check itself runs")
def test_without_a_gpu_each_step_that_needs_one_says_so(tmp_path: Path) -> None:
    done, report = run_script(tmp_path, "--only", *STEPS[2:])
    assert done.returncode == 0, done.stdout + done.stderr
    why = "no gpu: libcuda.so.1: cannot open shared object file: No such file or directory"
    assert [(step["name"], step["status"], step["reason"]) for step in report["steps"]] == [
        (name, "not run", why) for name in STEPS[2:]
    ]
    assert {"date", "commit", "lacks", "version"} <= set(report)
    assert len(report["commit"]) == 40
    assert f"doctor         not run     0.0 s  {why}" in done.stdout.splitlines()


def step(name: str, outcome: Outcome | Exception, *needs: str, limit: float = 10) -> Step:
    def run(seconds: float, machine: dict[str, Any]) -> Outcome:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return Step(name, "what it does", limit, needs, run)


def ran(steps: list[Step], clock: Callable[[], float] = time.monotonic) -> list[Record]:
    machine = {"lacks": {"gpu": "", "nvcc": "it is not on PATH"}}
    return gpu_check.run_all(steps, machine, 100, lambda _: None, clock)


def test_a_step_that_fails_or_breaks_stops_only_what_needs_it() -> None:
    records = ran(
        [
            step("build", Outcome("failed", "status 1: no compiler")),
            step("tests", Outcome("passed"), "gpu", "build"),
            step("kernels", Outcome("passed"), "nvcc"),
            step("broken", ValueError("bad figure")),
            step("speed", Outcome("passed", "", {"GB/s": 41.5}), "gpu"),
        ]
    )
    assert [(r.name, r.status, r.reason, r.figures) for r in records] == [
        ("build", "failed", "status 1: no compiler", {}),
        ("tests", "not run", "needs 'build', which was failed", {}),
        ("kernels", "not run", "no nvcc: it is not on PATH", {}),
        ("broken", "failed", "ValueError: bad figure", {}),
        ("speed", "passed", "", {"GB/s": 41.5}),
    ]


def test_the_whole_check_ends_in_its_time() -> None:
    now = [0.0]
    given: list[float] = []

    def run(seconds: float, machine: dict[str, Any]) -> Outcome:
        given.append(seconds)
        now[0] += 60
        return Outcome("passed")

    records = ran([Step(f"step {i}", "", 70, (), run) for i in range(3)], lambda: now[0])
    assert given == [70, 40]
    assert [r.status for r in records] == ["passed", "passed", "not run"]
    assert records[2].reason == "the 100 s of the whole check are over"


def test_a_command_that_hangs_is_ended_with_its_children() -> None:
    begun = time.monotonic()
    status, output = gpu_steps.run(["sh", "-c", "echo begun; sleep 50 & sleep 50"], 1)
    assert (status, output) == (-1, "begun\n")
    assert time.monotonic() - begun < 10
    assert gpu_steps.judged(status, output, 1).reason == "not finished after 1 s: begun"
    assert gpu_steps.judged(3, "x\nno nvcc\n", 1).reason == "status 3: x\nno nvcc"


def test_figures_of_tests_are_counts_reasons_and_recorded_properties(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase name="a"><properties><property name="both ways GB/s" '
        'value="43.25"/></properties><system-out>[ RUN ]\nfigure: PCIe link GB/s = 41.5\n[ OK ]'
        '</system-out></testcase><testcase name="b"><failure message="no"/>'
        '</testcase><testcase name="c"><skipped message="CuPy is not installed"/></testcase>'
        "</testsuite></testsuites>"
    )
    assert gpu_steps.figures_of_tests(report) == {
        "passed": 1,
        "failed": 1,
        "skipped": 1,
        "both ways GB/s": 43.25,
        "PCIe link GB/s": 41.5,
        "failed: b": True,
        "skipped: CuPy is not installed": 1,
    }


def test_figures_of_a_comparison_are_both_times_their_ratio_and_what_was_wrong() -> None:
    head = (
        "peer,collective,ranks,size,count,type,redop,root,inplace,rounds,iters,ours_us,ours_min_us,"
        "ours_max_us,theirs_us,theirs_min_us,theirs_max_us,ours_busbw,theirs_busbw,bound_busbw,"
        "ours_wrong,theirs_wrong,ratio"
    )
    row = "/v,all_reduce,1,{},2,float,sum,0,1,21,9,5.2,5,6,5.0,5,6,0,0,0,{},0,0.9615"
    text = "\n".join(["# all_reduce: ours, theirs", head, row.format(8, 0), row.format(256, 3)])
    assert gpu_steps.ratio_figures(text) == {
        "all_reduce float 8 B: ours us": 5.2,
        "all_reduce float 8 B: vendor us": 5.0,
        "all_reduce float 8 B: ratio": 0.9615,
        "all_reduce float 256 B: ours us": 5.2,
        "all_reduce float 256 B: vendor us": 5.0,
        "all_reduce float 256 B: ratio": 0.9615,
        "all_reduce float 256 B: wrong elements": 3,
    }


def test_figures_of_our_own_lanes_are_time_and_bandwidth_of_each_size() -> None:
    head = (
        "collective,ranks,size,count,type,redop,root,inplace,time_us,algbw,busbw,wrong,bound_busbw"
    )
    rows = [
        "all_reduce,2,8,2,float,sum,-1,0,18.5,0.1,0.2,0,",
        "all_reduce,2,8,2,float,sum,-1,1,9,1,2,4,",
    ]
    assert gpu_steps.lane_figures("\n".join(["# using", head, *rows]), "staging host") == {
        "all_reduce 8 B, staging host: us": 18.5,
        "all_reduce 8 B, staging host: busbw": 0.2,
        "all_reduce 8 B in place, staging host: us": 9.0,
        "all_reduce 8 B in place, staging host: busbw": 2.0,
        "all_reduce 8 B in place, staging host: wrong elements": 4,
    }


def test_a_gain_is_the_median_of_pairs_against_the_vendor_alone() -> None:
    rates = {"": [100.0, 120.0, 110.0], "vendor:3,memory:1": [130.0, 126.0, 110.0]}
    assert gpu_steps.gain_figures(rates) == {
        "vendor alone: busbw": 110.0,
        "vendor:3,memory:1: busbw": 126.0,
        "vendor:3,memory:1: gain": 1.05,
    }


@pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU: scripts/gpu-check itself runs")
def test_the_gpu_tests_are_all_collected_and_all_skipped_with_the_reason(tmp_path: Path) -> None:
    report = tmp_path / "gpu.xml"
    command = [sys.executable, "-I", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, str(ROOT / "tests" / "gpu"), f"--junitxml={report}"],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = gpu_steps.figures_of_tests(report)
    why = "no GPU: libcuda.so.1: cannot open shared object file: No such file or directory"
    assert figures == {
        "passed": 0,
        "failed": 0,
        "skipped": figures[f"skipped: {why}"],
        f"skipped: {why}": figures["skipped"],
    }
    assert figures["skipped"] >= 10
