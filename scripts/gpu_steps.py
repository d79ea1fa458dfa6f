# SPDX-License-Identifier: Apache-2.0
"""The steps of scripts/gpu-check: what each runs, what it needs and how its figures are read."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpu_check import FAILED, NOT_RUN, PASSED, Figures, Outcome, Step
from gpu_figures import csv_rows, gain_figures, lane_figures, ratio_figures

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # nothing is installed yet

from flexlink.vendor import Vendor, wheel_library  # noqa: E402

FOLDER = ROOT / "build" / "gpu-check"
PACKAGES = (
    "setuptools>=77",
    "cffi>=1.17",
    "cmake>=3.26",
    "ninja>=1.11",
    "pytest",
    "pytest-timeout",
)
Words = list[str | Path]
RANKS_SHARE_A_GPU = (2, 30, 3)  # NCCL_MULTI_RANK_GPU_ENABLE
TAIL = 1500  # characters of a failed command's output that are kept
FIGURE = re.compile(r"^figure: (.+) = (\S+)$", re.MULTILINE)
GPU_TESTS = "Gpu|Cuda"  # C++ tests of what a GPU runs; those that use one begin with Gpu


def run(
    command: Sequence[str | Path], seconds: float, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """(status, output) of a command; -1 where it was ended with all that it started.

    Its output goes to a file, so that a process that it left behind cannot hold us up.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = FOLDER / "output.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [str(word) for word in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        try:
            status = child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            status = -1
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return status, log.read_text(errors="replace")


def judged(status: int, output: str, seconds: float, figures: Figures | None = None) -> Outcome:
    """Passed for status 0; else failed, with the end of the output."""
    if status == 0:
        return Outcome(PASSED, "", figures or {})
    what = f"not finished after {seconds:.0f} s" if status == -1 else f"status {status}"
    return Outcome(FAILED, f"{what}: {output.strip()[-TAIL:]}", figures or {})


def figures_of_tests(report: Path) -> Figures:
    """Counts of a JUnit file, why tests were skipped, and what tests recorded: as properties, or as
    lines `figure: NAME = VALUE` of their output."""
    figures: Figures = {"passed": 0, "failed": 0, "skipped": 0}
    for case in ET.parse(report).getroot().iter("testcase"):
        skip = case.find("skipped")
        broken = case.find("failure") is not None or case.find("error") is not None
        outcome = "failed" if broken else "passed" if skip is None else "skipped"
        figures[outcome] += 1
        if broken:
            figures[f"failed: {case.get('name')}"] = True
        if skip is not None:
            reason = f"skipped: {skip.get('message', '')}"
            figures[reason] = figures.get(reason, 0) + 1
        for entry in case.iter("property"):
            figures[entry.get("name", "")] = _number(entry.get("value", ""))
        for name, value in FIGURE.findall(case.findtext("system-out") or ""):
            figures[name] = _number(value)
    return figures


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def vendor_library() -> str:
    """The vendor's libnccl of this Python's wheels, or FLEXLINK_NCCL_PATH; "" for none."""
    return str(wheel_library() or os.environ.get("FLEXLINK_NCCL_PATH", ""))


def first_gpu() -> tuple[Figures, str]:
    """(name, driver and number of the GPUs by nvidia-smi, "") or ({}, why there is none)."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return {}, str(error)
    if shutil.which("nvidia-smi") is None:
        return {}, "nvidia-smi is not on PATH"
    query = "--query-gpu=name,driver_version"
    status, output = run(["nvidia-smi", query, "--format=csv,noheader"], 30)
    rows = [line.split(", ") for line in output.splitlines() if ", " in line]
    if status != 0 or not rows:
        return {}, f"nvidia-smi: {output.strip()[-200:]}"
    return {"device": rows[0][0], "driver": rows[0][1], "devices": len(rows)}, ""


class Check:
    """The steps, and what they share: the folder of wheels and the venv that they fill."""

    def __init__(self) -> None:
        self.wheels: Path | None = None
        self.bin = FOLDER / "venv" / "bin"
        self.build = FOLDER / "native"
        self.vendor = vendor_library()
        self.large = "256M"  # of the step beside

    def machine(self) -> Figures:
        """What this machine is; "lacks": what a step may need and why it is not there, or ""."""
        found, no_gpu = first_gpu()
        nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
        status, text = run([nvcc, "--version"], 30) if Path(nvcc).exists() else (1, "")
        cuda = text.partition("release ")[2].partition(",")[0] if status == 0 else ""
        torch = importlib.util.find_spec("torch")
        commit = run(["git", "rev-parse", "HEAD"], 30)[1].strip()
        version = ""
        if torch is not None and not no_gpu:
            version = run([sys.executable, "-c", "import torch; print(torch.__version__)"], 60)[1]
        no_vendor = "neither an nvidia-nccl wheel nor FLEXLINK_NCCL_PATH"
        return {
            "commit": commit if len(commit) == 40 else "unknown",
            **found,
            "cuda": cuda,
            "torch": version.strip()[-40:],
            "vendor": self.vendor,
            "lacks": {
                "gpu": no_gpu,
                "nvcc": "" if cuda else "nvcc is neither on PATH nor in /usr/local/cuda/bin",
                "torch": "" if torch is not None else "torch is not installed",
                "vendor": "" if self.vendor else no_vendor,
                "compute-sanitizer": ""
                if shutil.which("compute-sanitizer")
                else "it is not on PATH; it comes with the CUDA toolkit",
            },
        }

    def steps(self) -> list[Step]:
        """All steps in order; their limits add up to more than the whole has, which then counts."""
        return [
            Step("venv", "a venv over this Python, from the wheels alone", 60, (), self.make_venv),
            Step("package", "builds and installs flexlink", 180, ("venv",), self.package),
            Step("cpp", "builds the C++ tests with nvcc", 150, ("gpu", "nvcc", "venv"), self.cpp),
            Step("doctor", "flexlink doctor", 20, ("gpu", "package"), self.doctor),
            Step("overhead", "pass-through against the vendor loaded directly", 60,
                 ("gpu", "package", "vendor"), self.overhead),
            Step("python-tests", "tests/gpu", 150, ("gpu", "package"), self.python_tests),
            Step("cpp-tests", f"C++ tests named {GPU_TESTS}", 120, ("gpu", "cpp"), self.cpp_tests),
            Step("torch", "torch's tensors on the GPU, by our own lanes", 150,
                 ("gpu", "package", "torch"), self.torch_tests),
            Step("own-lanes", "our own lanes between two ranks on one GPU", 60,
                 ("gpu", "package"), self.own_lanes),
            Step("beside", "a lane over PCIe beside the vendor, on one GPU", 90,
                 ("gpu", "package"), self.beside),
            Step("sanitizer", "compute-sanitizer on the kernel tests", 60,
                 ("gpu", "compute-sanitizer", "cpp"), self.sanitizer),
        ]  # fmt: skip

    def make_venv(self, seconds: float, _: Figures) -> Outcome:
        """The venv sees this Python's packages; what they lack comes from the wheels."""
        venv: Words = [sys.executable, "-m", "venv", "--system-site-packages", self.bin.parent]
        status, output = run(venv, seconds)
        if status != 0:
            return judged(status, output, seconds)
        self.unpack_debs()
        extra = self.named("nvidia_ml_py")
        extra += [] if self.vendor else self.named("nvidia_nccl_cu")
        extra += [] if importlib.util.find_spec("numpy") else self.named("numpy")
        install: Words = [self.bin / "python", "-m", "pip", "install", "--no-index"]
        install += ["--find-links", self.wheels] if self.wheels else []
        return judged(*run([*install, *PACKAGES, *extra], seconds), seconds)

    def named(self, prefix: str) -> list[str]:
        """The first wheel in the folder whose name begins so, as pip takes it; or nothing."""
        found = sorted(self.wheels.glob(f"{prefix}*.whl")) if self.wheels else []
        return [str(found[0])] if found else []

    def unpack_debs(self) -> None:
        """libgtest-dev, where the machine has none."""
        for deb in sorted(self.wheels.glob("*.deb")) if self.wheels else []:
            run(["dpkg", "-x", deb, FOLDER / "debs"], 30)

    def package(self, seconds: float, _: Figures) -> Outcome:
        """As a user installs it, the torch plugin included."""
        words = "-m pip install --no-build-isolation --no-deps --force-reinstall ."
        pip: Words = [self.bin / "python", *words.split()]
        return judged(*run(pip, seconds, self.tools()), seconds)

    def tools(self) -> dict[str, str]:
        """Environment in which the venv's and the CUDA toolkit's programs are found."""
        return {"PATH": f"{self.bin}:{os.environ['PATH']}:/usr/local/cuda/bin"}

    def cpp(self, seconds: float, _: Figures) -> Outcome:
        """The core again, with its tests."""
        ninja = self.bin / "ninja"
        configure: Words = [self.bin / "cmake", "-S", "native", "-B", self.build, "-G", "Ninja",
                     "-DFLEXLINK_TESTS=ON", f"-DCMAKE_MAKE_PROGRAM={ninja}"]  # fmt: skip
        env = self.tools()
        if (FOLDER / "debs").exists():
            env["GTest_ROOT"] = str(FOLDER / "debs" / "usr")
        status, output = run(configure, seconds, env)
        if status == 0:
            status, output = run([ninja, "-C", self.build], seconds, env)
        return judged(status, output, seconds)

    def doctor(self, seconds: float, _: Figures) -> Outcome:
        """Its lines about GPUs."""
        status, output = run([self.bin / "flexlink", "doctor"], seconds)
        lines = output.partition("\nGPUs\n")[2].partition("\n\n")[0].splitlines()
        figures = {f"line {i}": line.strip() for i, line in enumerate(lines, 1)}
        return judged(status, output, seconds, figures)

    def overhead(self, seconds: float, machine: Figures) -> Outcome:
        """One rank, from the smallest calls to large ones; every element checked on both sides."""
        words = "perf all_reduce --device cuda --ranks 1 -b 8 -e 256M -f 32 --rounds 21 --csv --vs"
        command: Words = [self.bin / "flexlink", *words.split(), machine["vendor"]]
        status, output = run(command, seconds, {"FLEXLINK_NCCL_PATH": str(machine["vendor"])})
        return judged(status, output, seconds, ratio_figures(output))

    def pytest(self, what: str, seconds: float, more: Mapping[str, str]) -> Outcome:
        """A file or folder of tests with the installed package."""
        report = FOLDER / f"{Path(what).stem}.xml"
        report.unlink(missing_ok=True)
        # -I: the installed package, not the source tree.
        command: Words = [self.bin / "python", "-I", "-m", "pytest", "-q", what,
                          f"--junitxml={report}"]  # fmt: skip
        status, output = run(command, seconds, {**self.tools(), **more})
        return judged(status, output, seconds, figures_of_tests(report) if report.exists() else {})

    def python_tests(self, seconds: float, machine: Figures) -> Outcome:
        """tests/gpu, which no other run collects."""
        vendor = {"FLEXLINK_NCCL_PATH": str(machine["vendor"])} if machine["vendor"] else {}
        return self.pytest("tests/gpu", seconds, vendor)

    def torch_tests(self, seconds: float, _: Figures) -> Outcome:
        """Those that the CPU's runs take with a GPU of threads (tests/torch/torch_gpu.py)."""
        real = {"FLEXLINK_TEST_GPU": "real", "CUDA_VISIBLE_DEVICES": "0"}
        return self.pytest("tests/torch/test_torch_gpu.py", seconds, real)

    def cpp_tests(self, seconds: float, _: Figures) -> Outcome:
        """ctest on those that use a GPU."""
        report = FOLDER / "cpp.xml"
        report.unlink(missing_ok=True)
        words = "--timeout 60 --output-on-failure --no-tests=error --output-junit"
        command: Words = [self.bin / "ctest", "--test-dir", self.build, "-R", GPU_TESTS]
        command += [*words.split(), report]
        status, output = run(command, seconds, {"FLEXLINK_TEST_GPU": "real"})  # tests/support/gpu.h
        return judged(status, output, seconds, figures_of_tests(report) if report.exists() else {})

    def own_lanes(self, seconds: float, _: Figures) -> Outcome:
        """Two ranks on the first GPU: bytes wait in its memory, in the host's; ranks as threads."""
        kinds = {
            "staging gpu": ("gpu", "--ranks 2 -b 8 -e 256M -f 32"),
            "staging host": ("host", "--ranks 2 -b 8 -e 256M -f 32"),
            "threads": ("gpu", "-t 2 -b 8 -e 64K -f 32"),
        }
        figures: Figures = {}
        for kind, (staging, words) in kinds.items():
            env = {"FLEXLINK_DEVICE": "cuda", "FLEXLINK_PASS_THROUGH": "0",
                   "FLEXLINK_STAGING": staging, "CUDA_VISIBLE_DEVICES": "0"}  # fmt: skip
            command = ["perf", "all_reduce", "--device", "cuda", "--csv", *words.split()]
            status, output = run([self.bin / "flexlink", *command], seconds / 3, env)
            figures |= lane_figures(output, kind)
            if status != 0:
                return judged(status, output, seconds / 3, figures)
        return Outcome(PASSED, "", figures)

    def primary(self, vendor: str) -> tuple[Path, bool]:
        """Who carries beside our lane on one GPU, and whether it is the vendor: an older one lets
        one rank use a GPU, so that a copy of our library, through the GPU's memory, stands in."""
        if vendor and Vendor(vendor).version() >= RANKS_SHARE_A_GPU:
            return Path(vendor), True
        _, library = run([self.bin / "flexlink", "lib"], 30)
        copy = FOLDER / "second" / "libnccl.so.2"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library.strip(), copy)
        return copy, False

    def beside(self, seconds: float, machine: Figures) -> Outcome:
        """The primary held to few CTAs, as slow as NVLink of an H800, alone and with our lane."""
        words = f"perf all_reduce --device cuda --ranks 2 -b {self.large} -e {self.large} --csv"
        library, is_vendor = self.primary(str(machine["vendor"]))
        common = {"FLEXLINK_NCCL_PATH": str(library), "CUDA_VISIBLE_DEVICES": "0",
                  "FLEXLINK_DEVICE": "cuda", "FLEXLINK_PASS_THROUGH": "1",
                  "NCCL_MULTI_RANK_GPU_ENABLE": "1", "NCCL_MAX_CTAS": "2",
                  "NCCL_NVLS_ENABLE": "0"}  # fmt: skip
        rates: dict[str, list[float]] = {"": [], "vendor:3,memory:1": [], "vendor,memory": []}
        for _ in range(3):
            for lanes, found in rates.items():
                env = {**common, "FLEXLINK_LANES": lanes}
                status, output = run([self.bin / "flexlink", *words.split()], seconds / 9, env)
                if status != 0:
                    return judged(status, output, seconds / 9)
                found.append(float(csv_rows(output)[0]["busbw"]))
        whose: Figures = {"primary": "the vendor" if is_vendor else "our memory lane"}
        return Outcome(PASSED, "", whose | gain_figures(rates))

    def sanitizer(self, seconds: float, _: Figures) -> Outcome:
        """memcheck over the kernels' tests."""
        program, chosen = self.build / "tests" / "test_unit", "--gtest_filter=Gpu*"
        status, listed = run([program, "--gtest_list_tests", chosen], seconds)
        if status == 0 and not listed.strip():
            return Outcome(NOT_RUN, f"{program.name} has no test that uses a GPU")
        command: Words = ["compute-sanitizer", "--error-exitcode", "9", program, chosen]
        return judged(*run(command, seconds), seconds)
