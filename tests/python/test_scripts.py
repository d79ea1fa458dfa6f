# SPDX-License-Identifier: Apache-2.0
"""The checks that hold the tree and the sum of the test run to the rules: each finds its fault."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support import PROGRAMS

SCRIPTS = PROGRAMS.parents[2] / "scripts"
TALLY = [sys.executable, str(SCRIPTS / "tally.py")]

CTEST = """<testsuite><testcase name="A.B" classname="A.B" status="{status}">{inside}
<system-out>{output}</system-out></testcase></testsuite>"""


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def add_up(folder: Path) -> tuple[int, list[str]]:
    done = subprocess.run([*TALLY, "sum", str(folder)], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout.splitlines()


def test_the_sum_adds_passes_of_all_files(tmp_path: Path) -> None:
    for name in ("plain", "asan"):
        (tmp_path / f"{name}.xml").write_text(CTEST.format(status="run", inside="", output=""))
    assert add_up(tmp_path) == (0, ["2 passed, 0 failed, 0 skipped"])


def test_a_failure_is_named_and_fails_the_run(tmp_path: Path) -> None:
    failure = '<failure message="Failed"/>'
    (tmp_path / "plain.xml").write_text(CTEST.format(status="fail", inside=failure, output=""))
    expected = ["FAILED: plain::A.B: Failed", "0 passed, 1 failed, 0 skipped"]
    assert add_up(tmp_path) == (1, expected)


def test_a_skip_that_is_not_listed_fails_the_run(tmp_path: Path) -> None:
    skip = '<skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>'
    (tmp_path / "plain.xml").write_text(CTEST.format(status="notrun", inside=skip, output="tired"))
    status, lines = add_up(tmp_path)
    assert status == 1
    assert lines[0].startswith("SKIPPED, and tests/skips.md does not list it: plain::A.B: ")
    assert "tired" in lines[0]
    assert lines[-1] == "0 passed, 1 failed, 0 skipped"


def test_a_listed_skip_with_its_reason_is_allowed(tmp_path: Path) -> None:
    for outcome, text in (("skip", "GoogleTest is not installed"), ("pass", "")):
        file = tmp_path / ("asan.xml" if outcome == "skip" else "lint.xml")
        name = "cpp.asan" if outcome == "skip" else "lint"
        subprocess.run([*TALLY, outcome, str(file), name, text], check=True, timeout=30)
    status, lines = add_up(tmp_path)
    assert (status, lines[-1]) == (0, "1 passed, 0 failed, 1 skipped")
    subprocess.run([*TALLY, "skip", str(file), "cpp.asan", "no time"], check=True, timeout=30)
    assert add_up(tmp_path)[0] == 1


def test_a_run_without_any_test_fails(tmp_path: Path) -> None:
    assert add_up(tmp_path) == (1, ["0 passed, 0 failed, 0 skipped"])


@pytest.mark.parametrize(
    ("folder", "include", "wrong"),
    [
        ("api", '"comm/communicator.h"', 0),
        ("comm", '"comm/frame.h"', 0),
        ("comm", '"api/export.h"', 1),
        ("base", '"engine/engine.h"', 1),
        ("link", '"schedule/chunked.h"', 1),
        ("schedule", "<chrono>", 1),
        ("schedule", "<vector>", 0),
        ("schedule", '"base/clock.h"', 1),
        ("link", '"balance/fit.h"', 0),
        ("schedule", '"balance/fit.h"', 0),
        ("balance", '"base/status.h"', 0),
        ("balance", '"base/log.h"', 1),
        ("balance", '"schedule/chunked.h"', 1),
        ("balance", "<thread>", 1),
        ("engine", '"waiter.h"', 1),
        ("lane", '"flexlink/probe.h"', 0),
    ],
)
def test_includes_that_go_the_wrong_way_are_found(folder: str, include: str, wrong: int) -> None:
    assert len(module("check-includes").problems(folder, "file.cc", include)) == wrong


def test_long_and_unlicensed_files_are_found() -> None:
    check = module("check-files")
    path = check.ROOT / "flexlink" / "new.py"
    long_function = "def f():\n" + "    x = 1\n" * 60
    assert check.size_problems(path, "x = 1\n" * 350) == []
    assert check.size_problems(path, "x = 1\n" * 351) == ["has 351 lines; the limit for .py is 350"]
    assert check.size_problems(path, long_function) == ["f() has 61 lines; 60 allowed"]
    assert check.licence_problem(path, "x = 1\n") == "has no SPDX line"
    assert check.licence_problem(path, "# SPDX-License-Identifier: Apache-2.0\n") is None
